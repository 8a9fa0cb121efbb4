import { Button, Popover, Stack, TextInput } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconSend } from "@tabler/icons-react";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import { messageOf } from "@/api/problem";
import { testMessagesMutation } from "@/client/@tanstack/react-query.gen";
import { shows } from "@/live/topics";

const route = getRouteApi("/alerts");

/** Sends a test message, and leads to what becomes of it. */
export function TestMessage() {
  const [opened, setOpened] = useState(false);
  const [target, setTarget] = useState("");
  const navigate = route.useNavigate();
  const queries = useQueryClient();
  const testing = useMutation({
    ...testMessagesMutation(),
    onSuccess: ({ notices }) => {
      setOpened(false);
      void queries.invalidateQueries({ predicate: (query) => shows(query, ["alerts"]) });
      void navigate({ search: { view: "messages" } });
      notifications.show({
        color: "green",
        title: "Test on its way",
        message: `To ${notices.map((notice) => notice.target).join(", ")}. Its row says how it fares.`,
      });
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    testing.mutate({ body: { ...(target.trim() && { target: target.trim() }) } });
  };
  return (
    <Popover opened={opened} onChange={setOpened} position="bottom-end" trapFocus withinPortal>
      <Popover.Target>
        <Button
          size="xs"
          variant="default"
          leftSection={<IconSend size={14} />}
          onClick={() => {
            testing.reset();
            setOpened((before) => !before);
          }}
        >
          Test message
        </Button>
      </Popover.Target>
      <Popover.Dropdown>
        <form onSubmit={submit}>
          <Stack gap="xs" w={260}>
            <TextInput
              label="Target"
              description="Its id in the configuration; empty: all"
              value={target}
              onChange={(event) => setTarget(event.currentTarget.value)}
              error={testing.error && messageOf(testing.error)}
              data-autofocus
            />
            <Button type="submit" size="xs" loading={testing.isPending}>
              Send
            </Button>
          </Stack>
        </form>
      </Popover.Dropdown>
    </Popover>
  );
}
