import { Badge, Card, Group, Stack, Text, Title } from "@mantine/core";
import type { BillLine, DecisionWhole, PriceUsed, SettlementShown } from "@/client";
import { whole } from "@/parts/amounts";
import { Fact, Facts } from "@/parts/Facts";
import { Money } from "@/parts/Money";
import { Name } from "@/parts/Name";
import { type Column, Table } from "@/parts/Table";
import { When } from "@/parts/When";

const BOOK_CHARS = 12;
const LINES: Column<BillLine>[] = [
  { title: "For", cell: (row) => row.unit.replaceAll("_", " ") },
  { title: "Quantity", right: true, cell: (row) => whole(row.quantity) },
  { title: "USD per million", right: true, cell: (row) => row.usd_per_million },
  { title: "USD", right: true, cell: (row) => row.cost_usd },
];
const FLAGS = { overrun: "More than was held", late: "Late", client_gone: "The client left early" } as const;

function usedText(settlement: SettlementShown): string {
  const used = Object.entries(settlement.usage ?? {}).filter(([, count]) => count > 0);
  const text = used.map(([name, count]) => `${whole(count)} ${name.replaceAll("_", " ")}`).join(", ");
  return `${text || "none"} (${settlement.source})`;
}

function Price({ price }: { price: PriceUsed }) {
  return (
    <>
      <Name value={price.entry_id} lines={0} /> of {price.source}, price book{" "}
      {price.book_version.slice(0, BOOK_CHARS)}
      {!price.known && ". No price is known; a ceiling was used."}
    </>
  );
}

function End({ settlement }: { settlement: SettlementShown }) {
  const upstream = [settlement.upstream_status, settlement.upstream_model, settlement.service_tier];
  return (
    <>
      <Fact name="Cost">
        {settlement.state === "released" ? (
          "nothing was charged"
        ) : (
          <Money nano={settlement.cost_nano_usd} exact={settlement.cost_usd} />
        )}
      </Fact>
      <Fact name="Used">{usedText(settlement)}</Fact>
      <Fact name="Ended">
        <When at={settlement.at} />
        {settlement.reason && <bdi> ({settlement.reason})</bdi>}
      </Fact>
      <Fact name="Provider answered">
        <Name value={upstream.filter((each) => each !== null).join(", ")} none="–" />
      </Fact>
    </>
  );
}

/** What the call was expected to use, at which price, and what it used and cost in the end. */
export function Settlement({ decision }: { decision: DecisionWhole }) {
  const { estimate, price, settlement } = decision;
  const flags = settlement
    ? (Object.keys(FLAGS) as (keyof typeof FLAGS)[]).filter((flag) => settlement[flag])
    : [];
  return (
    <Card withBorder padding="md" component="section" aria-label="Estimate and settlement">
      <Stack gap="md">
        <Group gap="xs">
          <Title order={2} size="h4">
            Estimate and settlement
          </Title>
          {flags.map((flag) => (
            <Badge key={flag} variant="light" color="orange" tt="none" radius="sm">
              {FLAGS[flag]}
            </Badge>
          ))}
        </Group>
        <Facts>
          <Fact name="Input">
            {estimate
              ? `${whole(estimate.input_tokens_expected)} tokens expected, at most ${whole(estimate.input_tokens_bound)} (${estimate.method})`
              : "–"}
          </Fact>
          <Fact name="Output">
            {estimate
              ? `at most ${whole(estimate.output_tokens_bound)} tokens (${estimate.output_cap_requested === null ? "no cap was asked for" : `asked for ${whole(estimate.output_cap_requested)}`})`
              : "–"}
          </Fact>
          <Fact name="Price">{price ? <Price price={price} /> : "No price is known."}</Fact>
          <Fact name="Held">
            <Money
              nano={
                settlement?.held_nano_usd ??
                (decision.state === "pending" ? estimate?.cost_bound_nano_usd : null)
              }
              exact={settlement?.held_usd ?? (decision.state === "pending" ? estimate?.cost_bound_usd : null)}
            />
          </Fact>
          {settlement && <End settlement={settlement} />}
        </Facts>
        {settlement === null && (
          <Text size="sm" c="dimmed">
            {decision.state === "denied" ? "The call did not run." : "The call is still running."}
          </Text>
        )}
        {settlement !== null && settlement.lines.length > 0 && (
          <Table label="Bill" columns={LINES} rows={settlement.lines} rowKey={(row) => row.unit} />
        )}
      </Stack>
    </Card>
  );
}
