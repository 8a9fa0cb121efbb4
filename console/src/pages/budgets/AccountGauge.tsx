import { Group, Stack, Text } from "@mantine/core";
import type { AccountShown, PolicyShown } from "@/client";
import { amountOf } from "@/parts/Amount";
import { inMetric, unitOf } from "@/parts/amounts";
import { Gauge } from "@/parts/Gauge";
import { TextLink } from "@/parts/links";
import { NAMES } from "@/parts/period";
import { When } from "@/parts/When";
import { levelsOf } from "./words";

/** The filter of the usage page that shows what is on an account; none for scopes that it cannot filter by. */
function filterOf(policy: PolicyShown, account: AccountShown): Record<string, string> {
  const kind = policy.scope.split(":")[0] as (typeof NAMES)[number];
  return NAMES.includes(kind) ? { [kind]: account.entity } : {};
}

/** One account of a budget: whose it is, what is used, held and foreseen, and when its window ends. */
export function AccountGauge({ policy, account }: { policy: PolicyShown; account: AccountShown }) {
  const name = account.entity === "*" ? "everything" : account.entity;
  const remaining = amountOf({ ...account }, "remaining", account.metric);
  const extra = amountOf({ ...account }, "extra", account.metric);
  return (
    <Stack gap={4} data-account={account.entity} data-remaining={remaining ?? undefined}>
      <Group justify="space-between" gap="xs">
        <TextLink
          size="sm"
          fw={600}
          to="/usage"
          search={{ since: account.window_start, ...filterOf(policy, account) }}
        >
          {name}
        </TextLink>
        <Text size="sm">
          {remaining === null ? (
            "no limit"
          ) : (
            <>
              <b>{inMetric(account.metric, remaining)}</b>{" "}
              {account.metric === "cost_usd" ? "" : unitOf(account.metric)} left
            </>
          )}
        </Text>
      </Group>
      <Gauge levels={levelsOf(account)} label={`${policy.id}, ${name}`}>
        <Text size="xs" c="dimmed">
          {account.window_end ? (
            <>
              until <When at={account.window_end} />
            </>
          ) : (
            "never ends"
          )}
        </Text>
      </Gauge>
      {extra ? (
        <Text size="xs" c="dimmed">
          {inMetric(account.metric, extra)} of the limit was granted on top
        </Text>
      ) : null}
      {account.exhausted_at && (
        <Text size="xs" c="var(--warn)" fw={600}>
          Will be used up about <When at={account.exhausted_at} />
        </Text>
      )}
    </Stack>
  );
}
