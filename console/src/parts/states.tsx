import { Alert, Button, Card, Group, Skeleton, Stack, Text, ThemeIcon } from "@mantine/core";
import { IconAlertTriangle, IconInbox } from "@tabler/icons-react";
import type { ReactNode } from "react";
import { ApiProblem, messageOf } from "@/api/problem";

/** Nothing is there: says why, and what to do next. */
export function Empty({
  title,
  children,
  action,
}: {
  title: string;
  children?: ReactNode;
  action?: ReactNode;
}) {
  return (
    <Stack align="center" gap="xs" py="xl" px="md">
      <ThemeIcon variant="light" size="xl" radius="xl" color="gray">
        <IconInbox size={22} />
      </ThemeIcon>
      <Text fw={600} ta="center">
        {title}
      </Text>
      {children && (
        <Text c="dimmed" size="sm" ta="center" maw={520} component="div">
          {children}
        </Text>
      )}
      {action}
    </Stack>
  );
}

/** It could not be read: says what the daemon said, and what to do next. */
export function Failure({ error, retry }: { error: unknown; retry?: () => void }) {
  const forbidden = error instanceof ApiProblem && error.status === 403;
  return (
    <Alert
      color={forbidden ? "yellow" : "red"}
      icon={<IconAlertTriangle size={18} />}
      title={forbidden ? "Your key does not reach this far" : "This could not be read"}
      role="alert"
    >
      <Group justify="space-between" gap="sm">
        <Text size="sm">
          {messageOf(error)}
          {forbidden && " Sign in with a key that has this role, or ask an admin for one."}
        </Text>
        {retry && !forbidden && (
          <Button size="xs" variant="light" color="red" onClick={retry}>
            Try again
          </Button>
        )}
      </Group>
    </Alert>
  );
}

/** Where something will be in a moment. */
export function Loading({ height = 120 }: { height?: number }) {
  return (
    <Card withBorder aria-busy="true" aria-label="Loading">
      <Skeleton height={height} />
    </Card>
  );
}

/** What a query gave, or the state that it is in. Data that is being fetched anew stays on the page. */
export function Loaded<Data>({
  query,
  height,
  children,
}: {
  query: { data: Data | undefined; error: unknown; refetch: () => unknown };
  height?: number;
  children: (data: Data) => ReactNode;
}) {
  if (query.data !== undefined) return children(query.data);
  if (query.error) return <Failure error={query.error} retry={() => query.refetch()} />;
  return <Loading {...(height === undefined ? {} : { height })} />;
}
