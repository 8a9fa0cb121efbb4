import { Card, Stack, Text, Title } from "@mantine/core";
import type { DecisionWhole } from "@/client";
import { amountText, fallOf } from "./fall";

/** What was expected, held, settled and released, as bars from top to bottom. */
export function Waterfall({ decision }: { decision: DecisionWhole }) {
  const { unit, steps } = fallOf(decision);
  const full = Math.max(1, ...steps.map((step) => step.to));
  return (
    <Card withBorder padding="md" h="100%" component="section" aria-label="From estimate to cost">
      <Stack gap="sm">
        <Title order={2} size="h4">
          From estimate to cost
        </Title>
        {steps.length === 0 && (
          <Text size="sm" c="dimmed">
            Nothing was estimated: the call was refused before.
          </Text>
        )}
        {unit === "tokens" && steps.length > 0 && (
          <Text size="sm" c="dimmed">
            No price is known, so its cost is not either. These are tokens.
          </Text>
        )}
        {steps.map((step) => (
          <div key={step.name} className="fall" data-step={step.name} data-amount={step.to - step.from}>
            <Text size="sm" c="dimmed">
              {step.label}
            </Text>
            <div className="fall-track" aria-hidden>
              <div
                className={`fall-bar fall-${step.name}`}
                style={{
                  left: `${(step.from / full) * 100}%`,
                  width: `${((step.to - step.from) / full) * 100}%`,
                }}
              />
            </div>
            <Text size="sm" fw={600} className="num">
              {amountText(unit, step.to - step.from)}
            </Text>
          </div>
        ))}
        {decision.state === "pending" && (
          <Text size="sm" c="dimmed">
            The call is running. What is held is settled when it ends.
          </Text>
        )}
        {decision.state === "in_doubt" && (
          <Text size="sm" c="dimmed">
            Its end is not known, so what was held stands.
          </Text>
        )}
      </Stack>
    </Card>
  );
}
