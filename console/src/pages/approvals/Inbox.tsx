import { Badge, Box, Group, Stack, Text } from "@mantine/core";
import type { ApprovalShown } from "@/client";
import { Amount } from "@/parts/Amount";
import { State } from "@/parts/Badges";
import { ItemLink } from "@/parts/links";
import { Until } from "@/parts/Until";
import { When } from "@/parts/When";
import type { ApprovalsSearch } from "./search";

function Line({ approval }: { approval: ApprovalShown }) {
  const waits = approval.state === "pending";
  return (
    <Stack gap={2}>
      <Group justify="space-between" gap="xs" wrap="nowrap">
        <Text size="sm" fw={600} truncate>
          {approval.requester}
        </Text>
        <Amount amounts={approval} name="asked" metric={approval.metric} fw={600} className="nowrap" />
      </Group>
      <Text size="xs" c="dimmed" lineClamp={2}>
        {approval.policy_id}
        {approval.agent && ` · ${approval.agent}`}
        {approval.reason && ` · ${approval.reason}`}
      </Text>
      <Group gap="xs">
        {waits ? <State word={approval.risk} size="sm" /> : <State word={approval.state} size="sm" />}
        {approval.occurrences > 1 && (
          <Badge size="sm" variant="default" tt="none">
            {approval.occurrences} times
          </Badge>
        )}
        <Text size="xs" c="dimmed">
          {waits ? (
            <>
              ends <Until at={approval.expires_at} />
            </>
          ) : (
            <When at={approval.decided_at ?? approval.asked_at} />
          )}
        </Text>
      </Group>
    </Stack>
  );
}

/** Requests, newest first; each leads to what is known of it. */
export function Inbox({
  approvals,
  chosen,
  search,
}: {
  approvals: readonly ApprovalShown[];
  chosen: string | undefined;
  search: ApprovalsSearch;
}) {
  return (
    <Box component="nav" aria-label="Requests">
      <Stack gap={4}>
        {approvals.map((approval) => (
          <ItemLink
            key={approval.id}
            to="/approvals"
            search={{ ...search, id: approval.id }}
            resetScroll={false}
            active={approval.id === chosen}
            aria-current={approval.id === chosen ? "true" : undefined}
            data-approval={approval.id}
            className="request"
            label={<Line approval={approval} />}
          />
        ))}
      </Stack>
    </Box>
  );
}
