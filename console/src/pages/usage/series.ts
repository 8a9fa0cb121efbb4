import type { UsageBucket, UsageTimeline } from "@/client";
import { usd, whole } from "@/parts/amounts";
import { OTHER_COLOR, SERIES_COLORS } from "@/theme";
import type { Metric } from "./search";

/** One colour of the chart. `key` is safe as a key of data, whatever the `name`. */
export interface Series {
  key: string;
  name: string;
  other: boolean;
  label: string;
  color: string;
  points: number[];
}

/** What is shown of a bucket: nano-USD, tokens or calls. */
export function figureOf(metric: Metric, bucket: UsageBucket): number {
  if (metric === "cost") return bucket.cost_nano_usd;
  return metric === "calls" ? bucket.requests : bucket.input_tokens + bucket.output_tokens;
}

/** A figure of the chart in its unit. */
export function figureText(metric: Metric, amount: number): string {
  return metric === "cost" ? usd(amount) : whole(amount);
}

function labelOf(name: string, other: boolean): string {
  if (other) return "All others";
  return name === "" ? "none" : name;
}

/** The series of a timeline, the largest first; one for all where it was not asked by a name. */
export function seriesOf(timeline: UsageTimeline, metric: Metric): Series[] {
  if (timeline.by === null) {
    const points = timeline.buckets.map((bucket) => figureOf(metric, bucket));
    return [{ key: "s0", name: "", other: true, label: "All", color: SERIES_COLORS[0], points }];
  }
  return timeline.series.map((each, at) => ({
    key: `s${at}`,
    name: each.name,
    other: each.other,
    label: labelOf(each.name, each.other),
    color: each.other ? OTHER_COLOR : (SERIES_COLORS[at % SERIES_COLORS.length] ?? OTHER_COLOR),
    points: each.points,
  }));
}

/** The rows that the chart draws: the start of each bucket, and the point of each series. */
export function chartRows(
  timeline: UsageTimeline,
  series: readonly Series[],
): Record<string, string | number>[] {
  return timeline.buckets.map((bucket, at) => ({
    start: bucket.start,
    ...Object.fromEntries(series.map((each) => [each.key, each.points[at] ?? 0])),
  }));
}
