import { Alert, Card, Stack, Text } from "@mantine/core";
import type { CallExplained } from "@/client";
import { Budgets } from "@/pages/decisions/Budgets";
import { Candidates } from "@/pages/decisions/Candidates";
import { whole } from "@/parts/amounts";
import { State } from "@/parts/Badges";
import { Fact, Facts } from "@/parts/Facts";
import { Money } from "@/parts/Money";

/** What a call would get: as a decision is shown, but for what only a call that was made has. */
export function Explained({ found }: { found: CallExplained }) {
  const { estimate, price, clamp } = found;
  return (
    <Stack data-would-run={found.would_run}>
      <Alert
        color={found.would_run ? "green" : "red"}
        title={found.would_run ? `It would run on ${found.model}` : "It would not run"}
      >
        <Text size="sm">
          {found.would_run ? `${found.route}: ${found.route_reason}` : found.message || found.error_code}
        </Text>
      </Alert>
      <Card withBorder>
        <Facts>
          <Fact name="Outcome">
            <State word={found.outcome} />
          </Fact>
          <Fact name="Mode">{found.mode.replace("_", " ")}</Fact>
          <Fact name="Provider">{found.provider}</Fact>
          <Fact name="Recommended">{found.recommended_model}</Fact>
          {estimate && (
            <>
              <Fact name="Costs at most">
                <Money nano={estimate.cost_bound_nano_usd} exact={estimate.cost_bound_usd} />
              </Fact>
              <Fact name="Input tokens at most">{whole(estimate.input_tokens_bound)}</Fact>
              <Fact name="Output tokens at most">{whole(estimate.output_tokens_bound)}</Fact>
            </>
          )}
          {price && <Fact name="Price from">{price.source}</Fact>}
          {clamp && <Fact name="Output cut to">{whole(clamp.granted)} tokens</Fact>}
        </Facts>
      </Card>
      <Budgets evaluations={found.evaluations} told={found.message} />
      <Candidates decision={{ ...found, routing: found.survey ?? found.routing }} />
    </Stack>
  );
}
