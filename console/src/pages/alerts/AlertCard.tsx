import { Badge, Button, Card, Group, Stack, Text, TextInput, Title, Tooltip } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { messageOf } from "@/api/problem";
import type { AlertShown, NoticeShown } from "@/client";
import { acknowledgeAlertMutation } from "@/client/@tanstack/react-query.gen";
import { shows } from "@/live/topics";
import { State } from "@/parts/Badges";
import { Until } from "@/parts/Until";
import { When } from "@/parts/When";
import { useMay } from "@/session/session";
import { Known, Ways } from "./Known";
import { kindText } from "./words";

const NOTE_CHARS_MAX = 1_000;

function Acknowledge({ alert }: { alert: AlertShown }) {
  const queries = useQueryClient();
  const [opened, setOpened] = useState(false);
  const [note, setNote] = useState("");
  const seeing = useMutation({
    ...acknowledgeAlertMutation(),
    onSuccess: (now) => {
      void queries.invalidateQueries({ predicate: (query) => shows(query, ["alerts"]) });
      notifications.show({ color: "green", title: "Acknowledged", message: now.title });
    },
  });
  if (!opened) {
    return (
      <Group>
        <Button size="xs" variant="light" onClick={() => setOpened(true)}>
          Acknowledge
        </Button>
      </Group>
    );
  }
  const submit = (event: FormEvent) => {
    event.preventDefault();
    seeing.mutate({ path: { alert_id: alert.id }, body: { ...(note.trim() && { note: note.trim() }) } });
  };
  return (
    <form onSubmit={submit}>
      <Group align="flex-end" gap="xs">
        <TextInput
          label="Note"
          placeholder="What you do about it; may be left out"
          value={note}
          onChange={(event) => setNote(event.currentTarget.value)}
          error={seeing.error && messageOf(seeing.error)}
          maxLength={NOTE_CHARS_MAX}
          autoFocus
          flex="1 1 240px"
        />
        <Button type="submit" loading={seeing.isPending}>
          Acknowledge
        </Button>
        <Button variant="default" onClick={() => setOpened(false)}>
          Cancel
        </Button>
      </Group>
    </form>
  );
}

function Messages({ notices }: { notices: readonly NoticeShown[] }) {
  if (notices.length === 0) return null;
  return (
    <Group gap="xs">
      <Text size="xs" c="dimmed">
        Messages
      </Text>
      {notices.map((notice) => (
        <Tooltip key={notice.id} label={notice.error} disabled={!notice.error}>
          <State word={notice.state} size="sm">
            {notice.target}: {notice.event}, {notice.state === "dead" ? "given up" : notice.state}
          </State>
        </Tooltip>
      ))}
    </Group>
  );
}

/** One alert: what is wrong, since when, what to do next, and who has seen it. */
export function AlertCard({ alert, notices }: { alert: AlertShown; notices: readonly NoticeShown[] }) {
  const operator = useMay("operator");
  const { acknowledged: seen } = alert;
  const firing = alert.state === "firing";
  return (
    <Card withBorder padding="md" data-alert={alert.id} data-state={alert.state}>
      <Stack gap="sm">
        <Stack gap={4}>
          <Group gap="xs">
            <State word={alert.severity} />
            {!firing && <State word="resolved" />}
            {firing && seen && <State word="acknowledged" />}
            <Text size="xs" c="dimmed">
              {kindText(alert.kind)}
            </Text>
          </Group>
          <Title order={2} size="h5">
            {alert.title}
          </Title>
          <Text size="sm">{alert.message}</Text>
        </Stack>
        <Known alert={alert} />
        <Group gap="xs" justify="space-between">
          <Ways alert={alert} />
          <Group gap="xs">
            {alert.count > 1 && (
              <Badge size="sm" variant="default" tt="none">
                {alert.count} times
              </Badge>
            )}
            <Text size="xs" c="dimmed">
              first <When at={alert.first_at} />
              {alert.count > 1 && (
                <>
                  , last <Until at={alert.last_at} />
                </>
              )}
            </Text>
          </Group>
        </Group>
        {seen && (
          <Text size="sm" data-seen>
            Seen by {seen.principal}, <When at={seen.at} />
            {seen.note ? <>: “{seen.note}”</> : "."}
          </Text>
        )}
        {alert.resolved_at && (
          <Text size="sm" data-resolution>
            Over since <When at={alert.resolved_at} />
            {alert.resolution && `: ${alert.resolution}`}
          </Text>
        )}
        <Messages notices={notices} />
        {operator && firing && !seen && <Acknowledge alert={alert} />}
      </Stack>
    </Card>
  );
}
