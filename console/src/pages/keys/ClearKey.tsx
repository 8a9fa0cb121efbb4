import { Alert, Button, Code, CopyButton, Group, Modal, Stack, Text } from "@mantine/core";
import { IconAlertTriangle, IconCheck, IconCopy } from "@tabler/icons-react";
import type { KeyCreated } from "@/client";

function Copyable({ label, text }: { label: string; text: string }) {
  return (
    <Stack gap={4}>
      <Group justify="space-between">
        <Text size="sm" fw={600}>
          {label}
        </Text>
        <CopyButton value={text} timeout={2_000}>
          {({ copied, copy }) => (
            <Button
              size="compact-xs"
              variant="light"
              leftSection={copied ? <IconCheck size={14} /> : <IconCopy size={14} />}
              onClick={copy}
              aria-label={`Copy: ${label}`}
            >
              {copied ? "Copied" : "Copy"}
            </Button>
          )}
        </CopyButton>
      </Group>
      <Code block className="wrapped">
        {text}
      </Code>
    </Stack>
  );
}

/** A new key in clear, the one time that it is shown. */
export function ClearKey({ made, close }: { made: KeyCreated; close: () => void }) {
  const calls = made.roles.includes("caller");
  const path = calls ? "/v1/models" : "/api/v1/usage/summary";
  return (
    <Modal
      opened
      onClose={close}
      title={`The key of ${made.principal}`}
      size="lg"
      closeOnClickOutside={false}
      closeOnEscape={false}
      withCloseButton={false}
    >
      <Stack>
        <Alert color="yellow" icon={<IconAlertTriangle size={18} />} title="It is shown this once">
          Palyra keeps a hash of it only. Copy it now to where it is used; if it is lost, revoke it and make
          another one.
        </Alert>
        <Copyable label="Key" text={made.key} />
        <Copyable
          label="Try it"
          text={`curl ${window.location.origin}${path} -H "authorization: Bearer ${made.key}"`}
        />
        <Group justify="flex-end">
          <Button onClick={close} data-autofocus>
            I have kept it
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}
