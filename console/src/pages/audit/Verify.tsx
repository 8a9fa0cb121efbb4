import { Alert, Button, Card, Code, CopyButton, Group, Stack, Text, Title } from "@mantine/core";
import { IconShieldCheck } from "@tabler/icons-react";
import { useMutation } from "@tanstack/react-query";
import { messageOf } from "@/api/problem";
import { verifyAuditMutation } from "@/client/@tanstack/react-query.gen";
import { duration, whole } from "@/parts/amounts";

/** Checks the whole journal and every account, while the daemon works on. */
export function Verify() {
  const checking = useMutation(verifyAuditMutation());
  const found = checking.data;
  return (
    <Card withBorder component="section" aria-label="Proof">
      <Stack gap="sm">
        <Group justify="space-between">
          <Stack gap={0}>
            <Title order={2} size="h4">
              Proof
            </Title>
            <Text size="sm" c="dimmed">
              Goes through the journal record by record, and adds up every account from it.
            </Text>
          </Stack>
          <Button
            leftSection={<IconShieldCheck size={16} />}
            loading={checking.isPending}
            onClick={() => checking.mutate({})}
          >
            Verify
          </Button>
        </Group>
        {checking.isPending && (
          <Text size="sm" c="dimmed" role="status">
            Checking; a large journal takes a while.
          </Text>
        )}
        {checking.error && (
          <Alert color="red" role="alert" title="It could not be checked">
            {messageOf(checking.error)}
          </Alert>
        )}
        {found?.ok && (
          <Alert color="green" title="Nothing was changed" role="status">
            <Stack gap={4}>
              <Text size="sm">
                {whole(found.records)} records and {whole(found.accounts)} accounts hold, checked in{" "}
                {duration(found.took_ms)}.
              </Text>
              {found.head && (
                <Group gap="xs">
                  <Text size="sm">Head:</Text>
                  <Code className="wraps">{found.head}</Code>
                  <CopyButton value={found.head}>
                    {({ copied, copy }) => (
                      <Button size="compact-xs" variant="default" onClick={copy}>
                        {copied ? "Copied" : "Copy"}
                      </Button>
                    )}
                  </CopyButton>
                </Group>
              )}
              <Text size="xs" c="dimmed">
                Keep the head elsewhere: with it, anybody can later prove that the journal was not rewritten.
              </Text>
            </Stack>
          </Alert>
        )}
        {found?.problem && (
          <Alert color="red" role="alert" title="The books do not hold">
            <Text size="sm">
              {found.problem.invariant}: {found.problem.detail}
              {found.problem.record !== null && ` (record ${whole(found.problem.record)})`}
            </Text>
            <Text size="sm">Keep a copy of the database as it is, and compare with the last export.</Text>
          </Alert>
        )}
      </Stack>
    </Card>
  );
}
