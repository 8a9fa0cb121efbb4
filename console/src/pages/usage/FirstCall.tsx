import { Button, Card, Code, CopyButton, Group, Stack, Text } from "@mantine/core";
import { IconCheck, IconCopy } from "@tabler/icons-react";
import { Empty } from "@/parts/states";

/** A call of the data plane of this daemon, for a shell. */
function callLine(): string {
  return [
    `curl ${window.location.origin}/v1/chat/completions \\`,
    `  -H "authorization: Bearer $PALYRA_KEY" \\`,
    `  -H "content-type: application/json" \\`,
    `  -d '{"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}'`,
  ].join("\n");
}

/** Nothing was called yet: how to make the first call. */
export function FirstCall() {
  const line = callLine();
  return (
    <Card withBorder>
      <Empty title="No calls yet">
        <Stack gap="sm" align="stretch">
          <Text size="sm">
            Point a client at this daemon with a key of Palyra, or make a call right here. It shows on this
            page at once.
          </Text>
          <Code block ta="left" tabIndex={0} aria-label="A first call">
            {line}
          </Code>
          <Group justify="center">
            <CopyButton value={line}>
              {({ copied, copy }) => (
                <Button
                  size="xs"
                  variant="light"
                  leftSection={copied ? <IconCheck size={14} /> : <IconCopy size={14} />}
                  onClick={copy}
                >
                  {copied ? "Copied" : "Copy"}
                </Button>
              )}
            </CopyButton>
          </Group>
        </Stack>
      </Empty>
    </Card>
  );
}
