import { Button, Code, Group, Modal, Stack, Text } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { messageOf } from "@/api/problem";
import type { KeyShown } from "@/client";
import { revokeKeyMutation } from "@/client/@tanstack/react-query.gen";
import { shows } from "@/live/topics";
import { useSession } from "@/session/session";

/** Asks once more, by name, and revokes a key. */
export function RevokeKey({ revoked, close }: { revoked: KeyShown; close: () => void }) {
  const queries = useQueryClient();
  const own = useSession().key_id === revoked.id;
  const revoking = useMutation({
    ...revokeKeyMutation(),
    onSuccess: () => {
      notifications.show({
        color: "green",
        title: "Revoked",
        message: `${revoked.prefix}… of ${revoked.principal}: its next call is refused.`,
      });
      void queries.invalidateQueries({ predicate: (query) => shows(query, ["keys"]) });
      close();
    },
  });
  return (
    <Modal opened onClose={close} title={`Revoke the key of ${revoked.principal}?`}>
      <Stack>
        <Text size="sm">
          <Code>{revoked.prefix}…</Code>
          {revoked.agent && <> of the agent {revoked.agent}</>} stops at once: its next call is refused, and
          who signed in with it is signed out. It cannot be taken back.
        </Text>
        {own && (
          <Text size="sm" c="var(--bad)" fw={600}>
            It is the key that you are signed in with.
          </Text>
        )}
        {revoking.error && (
          <Text size="sm" c="var(--bad)" role="alert">
            {messageOf(revoking.error)}
          </Text>
        )}
        <Group justify="flex-end" gap="xs">
          <Button variant="default" onClick={close} data-autofocus>
            Keep it
          </Button>
          <Button
            color="red.8"
            loading={revoking.isPending}
            onClick={() => revoking.mutate({ path: { key_id: revoked.id } })}
          >
            Revoke
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}
