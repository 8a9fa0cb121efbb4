import { Card, Stack, Text, Title } from "@mantine/core";
import type { CounterfactualShown, DecisionWhole, OverrideUsed } from "@/client";
import { Amount } from "@/parts/Amount";
import { Fact, Facts } from "@/parts/Facts";
import { Money } from "@/parts/Money";
import { Name } from "@/parts/Name";

function Override({ override }: { override: OverrideUsed }) {
  const by = override.approvals.join(", ");
  if (override.single_use) {
    return (
      <Text size="sm">
        {override.policy_id}: approval {by} let this one call through, and is used up by it.
      </Text>
    );
  }
  return (
    <Text size="sm">
      {override.policy_id}: <Amount amounts={{ ...override }} name="extra" metric={override.metric} /> more
      were granted by {by}.
    </Text>
  );
}

function Counterfactual({ record }: { record: CounterfactualShown }) {
  const otherwise = record.model ? "run on the recommended model" : "nothing different";
  const ran = record.cost_nano_usd !== null;
  return (
    <Facts>
      <Fact name="Would">
        {record.would.map((word) => word.replaceAll("_", " ")).join(", ") || otherwise} (outcome{" "}
        {record.outcome})
      </Fact>
      {record.model && (
        <Fact name="Model">
          <Name value={record.model} />
        </Fact>
      )}
      {record.clamped_output_tokens !== null && (
        <Fact name="Output cap">{record.clamped_output_tokens} tokens</Fact>
      )}
      <Fact name={ran ? "Cost" : "Cost at most"}>
        <Money
          nano={ran ? record.cost_nano_usd : record.cost_bound_nano_usd}
          exact={ran ? record.cost_usd : record.cost_bound_usd}
        />
      </Fact>
    </Facts>
  );
}

/** What made the call other than it was asked for: grants, a lowered cap, and what enforcement would do. */
export function Otherwise({ decision }: { decision: DecisionWhole }) {
  const { overrides, clamp, counterfactual } = decision;
  if (overrides.length === 0 && clamp === null && counterfactual === null) return null;
  return (
    <Card withBorder padding="md" component="section" aria-label="Grants, caps and dry runs">
      <Stack gap="sm">
        {overrides.length > 0 && (
          <>
            <Title order={2} size="h4">
              Overrides
            </Title>
            {overrides.map((each) => (
              <Override key={each.policy_id} override={each} />
            ))}
          </>
        )}
        {clamp !== null && (
          <>
            <Title order={2} size="h4">
              Clamp
            </Title>
            <Text size="sm">
              The output cap was lowered from {clamp.requested} to {clamp.granted} tokens to fit{" "}
              {clamp.policy_id}.
            </Text>
          </>
        )}
        {counterfactual !== null && (
          <>
            <Title order={2} size="h4">
              If everything were enforced
            </Title>
            <Counterfactual record={counterfactual} />
          </>
        )}
      </Stack>
    </Card>
  );
}
