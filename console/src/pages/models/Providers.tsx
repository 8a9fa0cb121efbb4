import { Alert, Button, Group, SimpleGrid, Stack, Text } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconPlugConnected, IconRefresh } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { messageOf } from "@/api/problem";
import {
  discoverModelsMutation,
  modelStatusOptions,
  modelStatusQueryKey,
  testConnectionMutation,
} from "@/client/@tanstack/react-query.gen";
import { Empty, Loaded } from "@/parts/states";
import { useMay } from "@/session/session";
import { ProviderCard } from "./ProviderCard";
import { Span, useSpan } from "./Span";
import { ofProvider, useTraffic } from "./traffic";

/** Providers: whether they are well, how busy, how fast, and a button that asks them. */
export function Providers() {
  const status = useQuery(modelStatusOptions());
  const traffic = useTraffic(useSpan());
  const queries = useQueryClient();
  const operator = useMay("operator");
  const admin = useMay("admin");
  const again = () => queries.invalidateQueries({ queryKey: modelStatusQueryKey() });
  const testing = useMutation({ ...testConnectionMutation(), onSettled: again });
  const discovering = useMutation({
    ...discoverModelsMutation(),
    onSuccess: (found) =>
      notifications.show({
        color: found.ok ? "green" : "yellow",
        message: found.ok ? "The providers were asked for their models." : "Not all providers answered.",
      }),
    onError: (error) => notifications.show({ color: "red", message: messageOf(error) }),
    onSettled: () => queries.invalidateQueries(),
  });

  return (
    <Stack>
      <Group justify="space-between">
        <Span />
        <Group gap="xs">
          {operator && (
            <Button
              size="xs"
              variant="default"
              leftSection={<IconPlugConnected size={14} />}
              loading={testing.isPending && testing.variables?.body?.provider === undefined}
              onClick={() => testing.mutate({ body: { refresh: true } })}
            >
              Test all connections
            </Button>
          )}
          {admin && (
            <Button
              size="xs"
              variant="default"
              leftSection={<IconRefresh size={14} />}
              loading={discovering.isPending}
              onClick={() => discovering.mutate({})}
            >
              Discover models
            </Button>
          )}
        </Group>
      </Group>
      {testing.error && (
        <Alert color="red" title="The test could not be made" role="alert">
          {messageOf(testing.error)}
        </Alert>
      )}
      <Loaded query={status} height={220}>
        {(found) => (
          <Stack>
            {found.problems.map((problem) => (
              <Alert
                key={`${problem.field} ${problem.message}`}
                color={problem.severity === "error" ? "red" : "yellow"}
                title={problem.field}
              >
                <Text size="sm">{problem.message}</Text>
              </Alert>
            ))}
            {found.providers.length === 0 && (
              <Empty title="No provider is configured">
                Add one under <code>[[providers]]</code> in the configuration file, and start the daemon
                again.
              </Empty>
            )}
            <SimpleGrid cols={{ base: 1, md: 2, xl: 3 }}>
              {found.providers.map((provider) => (
                <ProviderCard
                  key={provider.id}
                  provider={provider}
                  traffic={traffic && ofProvider(traffic, provider.id)}
                  testing={testing.isPending && testing.variables?.body?.provider === provider.id}
                  test={
                    operator ? () => testing.mutate({ body: { provider: provider.id, refresh: true } }) : null
                  }
                />
              ))}
            </SimpleGrid>
          </Stack>
        )}
      </Loaded>
    </Stack>
  );
}
