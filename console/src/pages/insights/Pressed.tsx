import { Card, Group, Stack, Text, Title } from "@mantine/core";
import type { BudgetInsight } from "@/client";
import { levelsOf } from "@/pages/budgets/words";
import { State } from "@/parts/Badges";
import { Gauge } from "@/parts/Gauge";
import { TextLink } from "@/parts/links";
import { Name } from "@/parts/Name";
import { When } from "@/parts/When";

const WHY = { hard_limit: "used up", forecast: "will not last", soft_limit: "at its soft limit" } as const;
const COLORS = { hard_limit: "red", forecast: "orange", soft_limit: "yellow" } as const;

function Pressing({ one }: { one: BudgetInsight }) {
  const { account, policy_id, why } = one;
  const entity = account.entity === "*" ? "" : account.entity;
  return (
    <Stack gap={6} data-pressed={policy_id}>
      <Group justify="space-between" gap="xs">
        <Group gap="xs">
          <TextLink to="/budgets/$id" params={{ id: policy_id }} fw={600} size="sm">
            {policy_id}
          </TextLink>
          {entity !== "" && <Name value={entity} size="sm" c="dimmed" lines={0} />}
        </Group>
        <State word={why} color={COLORS[why]}>
          {WHY[why]}
        </State>
      </Group>
      <Gauge levels={levelsOf(account)} label={`Budget ${policy_id} ${entity}`}>
        <Text size="xs" c="dimmed">
          {account.exhausted_at && (
            <>
              used up about <When at={account.exhausted_at} /> ·{" "}
            </>
          )}
          {account.window_end ? (
            <>
              until <When at={account.window_end} />
            </>
          ) : (
            "never ends"
          )}
        </Text>
      </Gauge>
    </Stack>
  );
}

/** Budgets at a limit, or that will be before their window ends. */
export function Pressed({ budgets }: { budgets: BudgetInsight[] }) {
  return (
    <Card withBorder padding="md" h="100%" component="section" aria-label="Budgets under pressure">
      <Stack gap="md">
        <Title order={2} size="h4">
          Budgets under pressure
        </Title>
        {budgets.length === 0 && (
          <Text size="sm" c="dimmed">
            None: all that were looked at last to the end of their windows.
          </Text>
        )}
        {budgets.map((one) => (
          <Pressing key={`${one.policy_id} ${one.account.entity}`} one={one} />
        ))}
      </Stack>
    </Card>
  );
}
