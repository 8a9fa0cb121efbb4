import { Card, Group, Stack, Text, Title } from "@mantine/core";
import type { RoutingInsight, UsageInsights } from "@/client";
import { whole } from "@/parts/amounts";
import { Fact, Facts } from "@/parts/Facts";
import { TextLink } from "@/parts/links";
import { Money } from "@/parts/Money";
import { Name } from "@/parts/Name";
import { useMay } from "@/session/session";

function modesText({ modes }: RoutingInsight): string {
  const told = Object.entries(modes).filter(([, count]) => count > 0);
  return told.map(([mode, count]) => `${whole(count)} ${mode.replace("_", " ")}`).join(", ") || "–";
}

/** Which routes the newest calls took, what recommended models would have saved, and what has no price. */
export function Routes({ insights }: { insights: UsageInsights }) {
  const viewer = useMay("viewer");
  const { routing, pricing } = insights;
  return (
    <Card withBorder padding="md" h="100%" component="section" aria-label="Routing and prices">
      <Stack gap="md">
        <Group justify="space-between" gap="xs">
          <Title order={2} size="h4">
            Routing and prices
          </Title>
          {viewer && (
            <TextLink size="sm" to="/models" search={{ view: "routing" }}>
              Routing report
            </TextLink>
          )}
        </Group>
        <Text size="sm" c="dimmed">
          Of {routing.sampled ? "the newest " : ""}
          {whole(routing.calls)} calls
        </Text>
        <Facts>
          <Fact name="Ran elsewhere than asked">{whole(routing.rerouted)}</Fact>
          <Fact name="Not where recommended">{whole(routing.overruled)}</Fact>
          <Fact name="Would have cost less">
            <Money nano={routing.could_save_nano_usd} exact={routing.could_save_usd} />
          </Fact>
          <Fact name="Modes">{modesText(routing)}</Fact>
        </Facts>
        <Text size="sm" c="dimmed">
          Of all calls of the period
        </Text>
        <Facts>
          <Fact name="Models with a price">{whole(pricing.known_models)}</Fact>
          <Fact name="Calls without a price">{whole(pricing.unpriced_calls)}</Fact>
        </Facts>
        {pricing.unpriced_models.map((each) => (
          <Group key={`${each.provider} ${each.model}`} justify="space-between" gap="xs" wrap="nowrap">
            <Text size="sm">
              <Name value={each.model} lines={0} /> at <Name value={each.provider} lines={0} />
            </Text>
            <Text size="sm" c="var(--warn)" fw={600} className="nowrap">
              {whole(each.requests)} unpriced
            </Text>
          </Group>
        ))}
      </Stack>
    </Card>
  );
}
