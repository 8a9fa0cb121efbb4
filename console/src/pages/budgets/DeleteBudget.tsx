import { Alert, Button, Group, Modal, Stack, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { notifications } from "@mantine/notifications";
import { IconTrash } from "@tabler/icons-react";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { messageOf } from "@/api/problem";
import type { PolicyShown } from "@/client";
import { deleteBudgetMutation } from "@/client/@tanstack/react-query.gen";

/** Takes a budget out of force, if it still is the version that is on the page. */
export function DeleteBudget({ policy }: { policy: PolicyShown }) {
  const [opened, { open, close }] = useDisclosure(false);
  const navigate = useNavigate();
  const queries = useQueryClient();
  const deleting = useMutation({
    ...deleteBudgetMutation(),
    onSuccess: async () => {
      notifications.show({ color: "green", message: `Budget ${policy.id} is out of force.` });
      await navigate({ to: "/budgets" });
      await queries.invalidateQueries();
    },
  });
  return (
    <>
      <Button size="xs" variant="default" leftSection={<IconTrash size={14} />} onClick={open}>
        Delete
      </Button>
      <Modal opened={opened} onClose={close} title={`Delete budget ${policy.id}?`}>
        <Stack>
          <Text size="sm">
            From the next call on it limits nobody. What was counted and its history stay, and a new budget of
            the same id goes on from there.
          </Text>
          {deleting.error && (
            <Alert color="red" role="alert">
              {messageOf(deleting.error)}
            </Alert>
          )}
          <Group justify="flex-end">
            <Button variant="default" onClick={close}>
              Keep it
            </Button>
            <Button
              color="red"
              loading={deleting.isPending}
              onClick={() =>
                deleting.mutate({
                  path: { policy_id: policy.id },
                  headers: { "If-Match": `"${policy.version}"` },
                })
              }
            >
              Delete {policy.id}
            </Button>
          </Group>
        </Stack>
      </Modal>
    </>
  );
}
