import { Button, Stack, Text } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { keepPreviousData, useInfiniteQuery, useMutation, useQueryClient } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { messageOf } from "@/api/problem";
import type { NoticeShown } from "@/client";
import { listNoticesInfiniteOptions, retryNoticeMutation } from "@/client/@tanstack/react-query.gen";
import { shows } from "@/live/topics";
import { State } from "@/parts/Badges";
import { Choice } from "@/parts/Choice";
import { More } from "@/parts/More";
import { itemsOf, PAGED } from "@/parts/pages";
import { Empty, Loaded } from "@/parts/states";
import { type Column, Table } from "@/parts/Table";
import { When } from "@/parts/When";
import { useMay } from "@/session/session";
import { MESSAGE_STATES } from "./search";

const route = getRouteApi("/alerts");

function Retry({ notice }: { notice: NoticeShown }) {
  const queries = useQueryClient();
  const retrying = useMutation({
    ...retryNoticeMutation(),
    onSuccess: () => {
      void queries.invalidateQueries({ predicate: (query) => shows(query, ["alerts"]) });
      notifications.show({ color: "green", title: "Sent once more", message: `To ${notice.target}.` });
    },
    onError: (error) =>
      notifications.show({ color: "red", title: "Not sent", message: messageOf(error), autoClose: 10_000 }),
  });
  return (
    <Button
      size="compact-xs"
      variant="light"
      loading={retrying.isPending}
      onClick={() => retrying.mutate({ path: { notice_id: notice.id } })}
    >
      Try again
    </Button>
  );
}

function Time({ notice }: { notice: NoticeShown }) {
  if (notice.sent_at) return <When at={notice.sent_at} />;
  if (notice.state === "dead") return "–";
  return (
    <>
      next <When at={notice.due_at} />
    </>
  );
}

const COLUMNS: Column<NoticeShown>[] = [
  {
    title: "State",
    cell: (row) => (
      <State word={row.state} miw={80}>
        {row.state === "dead" ? "given up" : row.state}
      </State>
    ),
  },
  {
    title: "About",
    cell: (row) => (
      <>
        <Text size="sm" miw={220}>
          {row.title}
        </Text>
        <Text size="xs" c="dimmed">
          {row.event}, <When at={row.created_at} />
        </Text>
      </>
    ),
  },
  { title: "To", cell: (row) => row.target },
  { title: "Attempts", right: true, cell: (row) => row.attempts },
  { title: "Sent", cell: (row) => <Time notice={row} /> },
  { title: "Last error", cell: (row) => row.error || "–" },
];

const ACTION: Column<NoticeShown> = {
  title: <span className="visually-hidden">Actions</span>,
  cell: (row) => row.state === "dead" && <Retry notice={row} />,
};

/** Messages about alerts: sent, waiting, or given up, and why. */
export function MessageList() {
  const { messages: state = "any" } = route.useSearch();
  const navigate = route.useNavigate();
  const operator = useMay("operator");
  const query = useInfiniteQuery({
    ...listNoticesInfiniteOptions({ query: state === "any" ? {} : { state } }),
    ...PAGED,
    placeholderData: keepPreviousData,
  });
  return (
    <Stack>
      <Choice
        label="State"
        data={MESSAGE_STATES}
        value={state}
        change={(messages) => void navigate({ search: (before) => ({ ...before, messages }) })}
      />
      <Loaded query={query} height={240}>
        {(data) =>
          itemsOf(data).length === 0 ? (
            <Empty title="No message">
              Alerts are sent to the targets of the configuration, under [[notify]]. Send a test message to
              see whether they arrive.
            </Empty>
          ) : (
            <Stack gap="sm">
              <Table
                label="Messages"
                columns={operator ? [...COLUMNS, ACTION] : COLUMNS}
                rows={itemsOf(data)}
                rowKey={(row) => row.id}
              />
              <More query={query} />
            </Stack>
          )
        }
      </Loaded>
    </Stack>
  );
}
