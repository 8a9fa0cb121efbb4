import { Alert, Card, SimpleGrid, Stack, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import type { RoutingReportShown } from "@/client";
import { routingReportOptions } from "@/client/@tanstack/react-query.gen";
import { percent, whole } from "@/parts/amounts";
import { Money } from "@/parts/Money";
import { Empty, Loaded } from "@/parts/states";
import { Table } from "@/parts/Table";
import { Span, useSpan } from "./Span";

type Row = RoutingReportShown["ran"];

const WAYS = [
  { key: "ran", title: "What ran", about: "The models that calls really ran on" },
  { key: "always_default", title: "Always the default", about: "First baseline: no routing at all" },
  { key: "shuffled", title: "Chance", about: "Second baseline: the same mix of models, dealt out at random" },
  { key: "always_recommended", title: "Always as recommended", about: "Had every suggestion been followed" },
] as const;

function Way({ title, about, row }: { title: string; about: string; row: Row }) {
  return (
    <Card withBorder padding="md" data-way={title}>
      <Text size="xs" c="dimmed" fw={600}>
        {title}
      </Text>
      <Text size="xl" fw={700} component="div">
        <Money nano={row.cost_nano_usd} exact={row.cost_usd} />
      </Text>
      <Text size="xs" c="dimmed">
        {about}
      </Text>
      <Text size="sm" mt={4} component="div">
        saves <Money nano={row.saving_nano_usd} exact={row.saving_usd} /> ({percent(row.saving_percent)})
      </Text>
    </Card>
  );
}

function Found({ report }: { report: RoutingReportShown }) {
  const { calls } = report;
  if (calls.counted === 0) {
    return (
      <Empty title="No call was routed in this period">
        Calls are routed where the model is <code>auto</code>, or the mode is suggest, dry_run or enforced.
        Let some run, or choose a longer period.
      </Empty>
    );
  }
  return (
    <Stack>
      <Alert color={report.verdict.code === "saves_beyond_mix" ? "green" : "blue"} title="Verdict">
        {report.verdict.text}
      </Alert>
      <SimpleGrid cols={{ base: 1, xs: 2, lg: 4 }}>
        {WAYS.map((way) => (
          <Way key={way.key} title={way.title} about={way.about} row={report[way.key]} />
        ))}
      </SimpleGrid>
      <Text size="sm" c="dimmed">
        {whole(calls.counted)} of {whole(calls.read)} settled calls are compared; {whole(calls.not_routed)}{" "}
        left nothing to choose.
        {report.truncated && " Older calls of the period were not read: choose a shorter one."}
      </Text>
      <Title order={2} size="h4">
        By difficulty
      </Title>
      <Table
        label="Savings by difficulty"
        rows={report.bands}
        rowKey={(band) => band.band}
        columns={[
          { title: "Difficulty", cell: (band) => band.band },
          { title: "Calls", right: true, cell: (band) => whole(band.calls) },
          {
            title: "Ran",
            right: true,
            cell: (band) => <Money nano={band.ran.cost_nano_usd} exact={band.ran.cost_usd} />,
          },
          {
            title: "Default",
            right: true,
            cell: (band) => (
              <Money nano={band.always_default.cost_nano_usd} exact={band.always_default.cost_usd} />
            ),
          },
          { title: "Saved", right: true, cell: (band) => percent(band.ran.saving_percent) },
        ]}
      />
      <Title order={2} size="h4">
        By model
      </Title>
      <Table
        label="How often each model was chosen"
        rows={report.models}
        rowKey={(model) => model.model}
        columns={[
          { title: "Model", cell: (model) => model.model },
          { title: "Default", right: true, cell: (model) => whole(model.default) },
          { title: "Recommended", right: true, cell: (model) => whole(model.recommended) },
          { title: "Ran", right: true, cell: (model) => whole(model.ran) },
        ]}
      />
      {report.unpriced_models.length > 0 && (
        <Alert color="yellow" title="Models without a price are left out">
          {report.unpriced_models.map((each) => `${each.model} (${whole(each.calls)} calls)`).join(", ")}
        </Alert>
      )}
    </Stack>
  );
}

/** What routing saved, against two baselines: the default model, and chance. */
export function RoutingReport() {
  const report = useQuery(routingReportOptions({ query: { since: useSpan() } }));
  return (
    <Stack>
      <Span />
      <Loaded query={report} height={260}>
        {(found) => <Found report={found} />}
      </Loaded>
    </Stack>
  );
}
