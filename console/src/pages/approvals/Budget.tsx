import { Stack, Table, Text } from "@mantine/core";
import type { ApprovalShown } from "@/client";
import { Amount, type Amounts, amountOf } from "@/parts/Amount";
import { withUnit } from "@/parts/amounts";
import { Gauge } from "@/parts/Gauge";
import { When } from "@/parts/When";

function windowText(approval: ApprovalShown, now: Amounts) {
  if (approval.interval === "request") return "Each call is counted by itself";
  const ends = now.window_end;
  return typeof ends === "string" ? (
    <>
      This window ends <When at={ends} />
    </>
  ) : (
    "This budget has no end"
  );
}

/** What the account has used as at the last ask, and now. */
function ThenAndNow({ approval, now }: { approval: ApprovalShown; now: Amounts }) {
  const { metric } = approval;
  return (
    <Table aria-label="The budget when asked, and now" verticalSpacing={4} withRowBorders={false}>
      <Table.Thead>
        <Table.Tr>
          <Table.Td />
          <Table.Th className="num">When asked</Table.Th>
          <Table.Th className="num">Now</Table.Th>
        </Table.Tr>
      </Table.Thead>
      <Table.Tbody>
        {(
          [
            ["Used or held", "consumed", "consumed"],
            ["Limit", "limit", "limit"],
            ["Left", "remaining", "remaining"],
          ] as const
        ).map(([title, then, today]) => (
          <Table.Tr key={title}>
            <Table.Th scope="row" fw={400}>
              {title}
            </Table.Th>
            <Table.Td className="num" data-then={then}>
              <Amount amounts={approval} name={then} metric={metric} />
            </Table.Td>
            <Table.Td className="num" data-now={today}>
              <Amount amounts={now} name={today} metric={metric} />
            </Table.Td>
          </Table.Tr>
        ))}
        {amountOf(approval, "amount", metric) !== 0 && (
          <Table.Tr>
            <Table.Th scope="row" fw={400}>
              With this call, at most
            </Table.Th>
            <Table.Td className="num" data-then="projected">
              <Amount amounts={approval} name="projected" metric={metric} />
            </Table.Td>
            <Table.Td className="num" data-now="projected">
              {withUnit(metric, withCall(approval, now))}
            </Table.Td>
          </Table.Tr>
        )}
      </Table.Tbody>
    </Table>
  );
}

function withCall(approval: ApprovalShown, now: Amounts): number | null {
  const consumed = amountOf(now, "consumed", approval.metric);
  return consumed === null ? null : consumed + (amountOf(approval, "amount", approval.metric) ?? 0);
}

/** The budget that stops the call: how full it is now, and what the call would add. */
export function Budget({ approval }: { approval: ApprovalShown }) {
  const now: Amounts | null = approval.budget_now;
  const { metric } = approval;
  if (now === null) {
    return (
      <Text size="sm" c="dimmed">
        The budget {approval.policy_id} is not there any more.
      </Text>
    );
  }
  const limit = amountOf(now, "limit", metric);
  const extra = amountOf(now, "extra", metric) ?? 0;
  const adds = amountOf(approval, "amount", metric) || amountOf(approval, "asked", metric);
  return (
    <Stack gap="xs">
      <Gauge
        label={`Budget ${approval.policy_id} of ${approval.entity} now`}
        levels={{
          metric,
          posted: amountOf(now, "posted", metric) ?? 0,
          held: amountOf(now, "held", metric) ?? 0,
          asked: approval.state === "pending" ? (adds ?? 0) : 0,
          limit: limit === null ? null : limit + extra,
          soft: amountOf(now, "soft_limit", metric),
        }}
      />
      <Text size="xs" c="dimmed">
        {windowText(approval, now)}
        {extra > 0 && ` · grants put ${withUnit(metric, extra)} on top of the limit`}
      </Text>
      <ThenAndNow approval={approval} now={now} />
    </Stack>
  );
}
