import { Card, Group, Stack, Text, Title } from "@mantine/core";
import type { EvaluationShown } from "@/client";
import { amountOf } from "@/parts/Amount";
import { State } from "@/parts/Badges";
import { Gauge } from "@/parts/Gauge";
import { TextLink } from "@/parts/links";
import { Name } from "@/parts/Name";
import { When } from "@/parts/When";

function Evaluation({ one, told }: { one: EvaluationShown; told: string }) {
  const { metric } = one;
  const amounts = { ...one };
  const asked = amountOf(amounts, "amount", metric);
  const message = one.message.replace(`${one.policy_id}: `, "");
  return (
    <Stack gap={6} data-evaluation={one.policy_id}>
      <Group justify="space-between" gap="xs">
        <Group gap="xs">
          <TextLink to="/budgets/$id" params={{ id: one.policy_id }} fw={600} size="sm">
            {one.policy_id}
          </TextLink>
          <Text size="sm" c="dimmed">
            <Name value={`${one.scope}, ${one.metric} per ${one.interval}`} />
          </Text>
        </Group>
        <Group gap="xs">
          {one.would && <State word={one.would} />}
          <State word={one.status} />
        </Group>
      </Group>
      <Gauge
        label={`Budget ${one.policy_id} when the call was decided`}
        levels={{
          metric,
          posted: amountOf(amounts, "consumed", metric) ?? 0,
          asked: asked ?? 0,
          limit: amountOf(amounts, "hard_limit", metric),
          soft: amountOf(amounts, "soft_limit", metric),
        }}
      >
        <Text size="xs" c="dimmed">
          {asked === null ? "this call: unknown · " : ""}
          {one.entity === "*" ? "" : `${one.entity} · `}
          {one.window_end ? (
            <>
              until <When at={one.window_end} />
            </>
          ) : (
            "no end"
          )}
        </Text>
      </Gauge>
      {message !== "" && one.message !== told && (
        <Text size="sm">
          <bdi>{message}</bdi>
        </Text>
      )}
    </Stack>
  );
}

/** Each budget that the call was held against: what was consumed, what the call asked for, and the limit. */
export function Budgets({ evaluations, told }: { evaluations: EvaluationShown[]; told: string }) {
  return (
    <Card withBorder padding="md" component="section" aria-label="Budgets">
      <Stack gap="lg">
        <Title order={2} size="h4">
          Budgets
        </Title>
        {evaluations.length === 0 && (
          <Text size="sm" c="dimmed">
            No budget applied to this call.
          </Text>
        )}
        {evaluations.map((one) => (
          <Evaluation key={one.policy_id} one={one} told={told} />
        ))}
      </Stack>
    </Card>
  );
}
