import { BarChart } from "@mantine/charts";
import { Card, Grid, Stack, Text, Title } from "@mantine/core";
import type { UsageSession, UsageSessionModel, UsageSessionTimeline } from "@/client";
import { compact, usd, whole } from "@/parts/amounts";
import { Money } from "@/parts/Money";
import { Name } from "@/parts/Name";
import { Share } from "@/parts/Share";
import { type Column, Table } from "@/parts/Table";
import { momentText } from "@/parts/When";

function modelColumns(models: readonly UsageSessionModel[]): Column<UsageSessionModel>[] {
  const all = models.reduce((sum, each) => sum + each.cost_nano_usd, 0);
  return [
    {
      title: "Model",
      cell: (row) => (
        <Stack gap={0}>
          <Name value={row.model} fw={600} />
          <Name value={row.provider} size="xs" c="dimmed" />
        </Stack>
      ),
    },
    {
      title: "Spend",
      right: true,
      cell: (row) => <Money nano={row.cost_nano_usd} exact={row.cost_usd} fw={600} />,
    },
    {
      title: "Share",
      width: 150,
      cell: (row) => (
        <Share
          value={all === 0 ? null : (row.cost_nano_usd / all) * 100}
          label={`Share of the session's spend of ${row.model}`}
        />
      ),
    },
    { title: "Calls", right: true, cell: (row) => whole(row.requests) },
    {
      title: "Tokens in / out",
      right: true,
      cell: (row) => `${compact(row.input_tokens)} / ${compact(row.output_tokens)}`,
    },
  ];
}

function Course({ timeline }: { timeline: UsageSessionTimeline }) {
  const spent = timeline.buckets.some((bucket) => bucket.cost_nano_usd > 0);
  const key = spent ? "cost_nano_usd" : "requests";
  return (
    <Stack gap="sm">
      <Title order={2} size="h4">
        {spent ? "Spend" : "Calls"} per {timeline.bucket}
      </Title>
      <figure className="chart" aria-label={`${spent ? "Spend" : "Calls"} per ${timeline.bucket}`}>
        <BarChart
          h={220}
          data={timeline.buckets}
          dataKey="start"
          series={[{ name: key, label: spent ? "Spend" : "Calls", color: "lagoon.6" }]}
          valueFormatter={(amount) => (spent ? usd(amount) : whole(amount))}
          maxBarWidth={36}
          strokeDasharray="3 3"
          tickLine="none"
          xAxisProps={{ tickFormatter: momentText, minTickGap: 28 }}
          yAxisProps={{ width: 64 }}
          tooltipProps={{ labelFormatter: (start) => (typeof start === "string" ? momentText(start) : "") }}
        />
      </figure>
      {timeline.truncated && (
        <Text size="xs" c="dimmed">
          The older calls of this session are not in the chart.
        </Text>
      )}
    </Stack>
  );
}

/** The calls of a session over time, and by model. */
export function SessionCourse({ found }: { found: UsageSession }) {
  return (
    <Grid gap="md" align="stretch">
      <Grid.Col span={{ base: 12, lg: 6 }}>
        <Card withBorder padding="md" h="100%">
          <Course timeline={found.timeline} />
        </Card>
      </Grid.Col>
      <Grid.Col span={{ base: 12, lg: 6 }}>
        <Card withBorder padding="md" h="100%">
          <Stack gap="sm">
            <Title order={2} size="h4">
              Models
            </Title>
            <Table
              label="Models of the session"
              columns={modelColumns(found.models)}
              rows={found.models}
              rowKey={(row) => `${row.provider}/${row.model}`}
            />
          </Stack>
        </Card>
      </Grid.Col>
    </Grid>
  );
}
