import { BarChart } from "@mantine/charts";
import { ColorSwatch, Group, Paper, Stack, Text, useMantineTheme } from "@mantine/core";
import type { UsageTimeline } from "@/client";
import { compact, usd } from "@/parts/amounts";
import { longLabel, shortLabel } from "./labels";
import type { Metric } from "./search";
import { chartRows, figureText, type Series } from "./series";

const SHOWN = 9;

function Tip({
  title,
  metric,
  series,
  at,
}: {
  title: string;
  metric: Metric;
  series: readonly Series[];
  at: number;
}) {
  const theme = useMantineTheme();
  const told = series.filter((each) => (each.points[at] ?? 0) > 0).slice(0, SHOWN);
  const sum = series.reduce((before, each) => before + (each.points[at] ?? 0), 0);
  const swatch = (color: string) => {
    const [name = "gray", shade = "5"] = color.split(".");
    return theme.colors[name]?.[Number(shade)] ?? "gray";
  };
  return (
    <Paper withBorder shadow="md" p="sm" maw={300}>
      <Stack gap={4}>
        <Group justify="space-between" gap="lg" wrap="nowrap">
          <Text size="xs" fw={600}>
            {title}
          </Text>
          <Text size="xs" fw={700}>
            {figureText(metric, sum)}
          </Text>
        </Group>
        {told.map((each) => (
          <Group key={each.key} justify="space-between" gap="lg" wrap="nowrap">
            <Group gap={6} wrap="nowrap">
              <ColorSwatch size={8} color={swatch(each.color)} withShadow={false} />
              <Text size="xs" lineClamp={1}>
                <bdi>{each.label}</bdi>
              </Text>
            </Group>
            <Text size="xs">{figureText(metric, each.points[at] ?? 0)}</Text>
          </Group>
        ))}
      </Stack>
    </Paper>
  );
}

/** Stacked bars over time; a click on one calls `pick` with its bucket, and its series where there is one. */
export function Chart({
  timeline,
  metric,
  series,
  picked,
  pick,
}: {
  timeline: UsageTimeline;
  metric: Metric;
  series: readonly Series[];
  picked: string | undefined;
  pick: (bucket: number, series?: Series) => void;
}) {
  const places = new Map(timeline.buckets.map((bucket, at) => [bucket.start, at]));
  const label = (start: string, text: typeof shortLabel) =>
    text(timeline.bucket, timeline.buckets[places.get(start) ?? 0]?.label ?? start);
  return (
    <BarChart
      h={300}
      data={chartRows(timeline, series)}
      dataKey="start"
      type="stacked"
      series={series.map(({ key, label, color }) => ({ name: key, label, color }))}
      valueFormatter={(amount) => (metric === "cost" ? usd(amount) : compact(amount))}
      withLegend={series.length > 1}
      legendProps={{ verticalAlign: "bottom" }}
      maxBarWidth={44}
      strokeDasharray="3 3"
      tickLine="none"
      xAxisProps={{ tickFormatter: (start: string) => label(start, shortLabel), minTickGap: 28 }}
      yAxisProps={{ width: 64 }}
      tooltipProps={{
        content: ({ label: start, active }) =>
          active && typeof start === "string" ? (
            <Tip
              title={label(start, longLabel)}
              metric={metric}
              series={series}
              at={places.get(start) ?? 0}
            />
          ) : null,
      }}
      referenceAreas={
        picked !== undefined && places.has(picked) ? [{ x1: picked, x2: picked, color: "gray.5" }] : []
      }
      barChartProps={{
        className: "row-link",
        onClick: (state) => {
          const at = state.activeTooltipIndex;
          if (at !== null && at !== undefined) pick(Number(at));
        },
      }}
      barProps={(each) => ({
        onClick: (_bar, at, event) => {
          // Otherwise the chart would take the click too, for the whole bucket.
          event.stopPropagation();
          pick(
            at,
            series.find(({ key }) => key === each.name),
          );
        },
      })}
    />
  );
}
