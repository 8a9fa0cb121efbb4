import { SimpleGrid, Stack, Text } from "@mantine/core";
import type { UsagePeriod, UsageSummary } from "@/client";
import { compact, duration, percent, whole } from "@/parts/amounts";
import { Figure, type Leaning } from "@/parts/Figure";
import { Money } from "@/parts/Money";
import type { Filters } from "@/parts/period";
import { When } from "@/parts/When";

function Count({
  label,
  name,
  summary,
  about,
  leaning = "neutral",
}: {
  label: string;
  name: "requests" | "denied" | "asked" | "clamped" | "input_tokens" | "output_tokens" | "cache_read_tokens";
  summary: UsageSummary;
  about?: string | undefined;
  leaning?: Leaning;
}) {
  const count = summary.totals[name];
  return (
    <Figure
      label={label}
      testId={name}
      value={
        <span data-value={count} title={whole(count)}>
          {compact(count)}
        </span>
      }
      change={summary.change[`${name}_percent`]}
      leaning={leaning}
      about={about}
    />
  );
}

/** Why the 95th percentile cannot be told, if it cannot. */
function untold(summary: UsageSummary, filters: Filters): string | undefined {
  if (summary.p95_latency_ms !== null) return undefined;
  if (filters.principal !== undefined || filters.agent !== undefined)
    return "Kept by model and provider only";
  return summary.totals.timed === 0 ? "No call was timed" : "Your key does not reach this far";
}

function Latencies({ summary, filters }: { summary: UsageSummary; filters: Filters }) {
  const { totals, change } = summary;
  return (
    <>
      <Figure
        label="Average latency"
        testId="average_latency"
        value={<span data-value={totals.average_latency_ms}>{duration(totals.average_latency_ms)}</span>}
        change={change.average_latency_ms_percent}
        leaning="bad"
        about={totals.timed === 0 ? "No call was timed" : undefined}
      />
      <Figure
        label="p95 latency"
        testId="p95_latency"
        value={<span data-value={summary.p95_latency_ms}>{duration(summary.p95_latency_ms)}</span>}
        change={change.p95_latency_ms_percent}
        leaning="bad"
        about={untold(summary, filters)}
      />
    </>
  );
}

/** Why no figure is compared, if none is. */
function NotCompared({ previous }: { previous: UsagePeriod }) {
  if (previous.whole || previous.kept_since === null) return null;
  return (
    <Text size="xs" c="dimmed">
      Not compared with the time before: usage is kept since <When at={previous.kept_since} size="xs" />.
    </Text>
  );
}

/** The figures of a period, each against the one before. */
export function Figures({ summary, filters }: { summary: UsageSummary; filters: Filters }) {
  const { totals } = summary;
  const allUnpriced = totals.requests > 0 && totals.unpriced === totals.requests;
  const cached =
    totals.input_tokens > 0
      ? `${percent((totals.cache_read_tokens / totals.input_tokens) * 100)} of input`
      : undefined;
  return (
    <Stack gap="xs">
      <SimpleGrid cols={{ base: 2, sm: 3, lg: 6 }} spacing={{ base: "xs", sm: "sm" }}>
        <Figure
          label="Spend"
          testId="cost"
          value={
            <Money
              nano={allUnpriced ? null : totals.cost_nano_usd}
              exact={allUnpriced ? null : totals.cost_usd}
            />
          }
          change={summary.change.cost_percent}
          leaning="bad"
          about={totals.unpriced > 0 ? `without ${whole(totals.unpriced)} unpriced` : undefined}
        />
        <Count
          label="Calls"
          name="requests"
          summary={summary}
          about={totals.failed > 0 ? `${compact(totals.failed)} failed` : undefined}
        />
        <Count label="Tokens in" name="input_tokens" summary={summary} />
        <Count label="Tokens out" name="output_tokens" summary={summary} />
        <Count label="Cached" name="cache_read_tokens" summary={summary} leaning="good" about={cached} />
        <Count label="Denied" name="denied" summary={summary} leaning="bad" />
        <Count label="Asked" name="asked" summary={summary} leaning="bad" />
        <Count label="Clamped" name="clamped" summary={summary} leaning="bad" />
        <Latencies summary={summary} filters={filters} />
        <Figure
          label="Saved by routing"
          testId="saved"
          value={<Money nano={totals.saved_nano_usd} exact={totals.saved_usd} />}
          // Of a loss there is no percent that people would read as one.
          change={summary.previous.totals.saved_nano_usd > 0 ? summary.change.saved_percent : null}
          leaning="good"
          about="against defaults"
        />
        <Figure
          label="Held now"
          testId="held"
          value={<Money nano={summary.held_now_nano_usd} exact={summary.held_now_usd} />}
          about={
            summary.running_unpriced > 0
              ? `${whole(summary.running)} running, ${whole(summary.running_unpriced)} unpriced`
              : `${whole(summary.running)} running`
          }
        />
      </SimpleGrid>
      <NotCompared previous={summary.previous} />
    </Stack>
  );
}
