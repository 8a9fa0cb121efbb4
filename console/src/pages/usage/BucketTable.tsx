import { Text } from "@mantine/core";
import type { UsageTimeline } from "@/client";
import { whole } from "@/parts/amounts";
import { type Column, Table } from "@/parts/Table";
import { longLabel } from "./labels";
import { Spend } from "./Spend";
import type { Metric } from "./search";
import { figureText, type Series } from "./series";

interface Row {
  at: number;
  start: string;
}

/** The figures of the chart, for those who cannot see it, and as a way into a bucket by keyboard. */
export function BucketTable({
  timeline,
  metric,
  series,
  pick,
}: {
  timeline: UsageTimeline;
  metric: Metric;
  series: readonly Series[];
  pick: (bucket: number) => void;
}) {
  const rows: Row[] = timeline.buckets
    .map((bucket, at) => ({ at, start: bucket.start }))
    .filter(({ at }) => (timeline.buckets[at]?.requests ?? 0) + (timeline.buckets[at]?.denied ?? 0) > 0)
    .reverse();
  const bucketOf = ({ at }: Row) => timeline.buckets[at];
  const columns: Column<Row>[] = [
    {
      title: "Period",
      cell: (row) => <span className="nowrap">{longLabel(timeline.bucket, bucketOf(row)?.label ?? "")}</span>,
    },
    ...(series.length > 1
      ? series.map(
          (each): Column<Row> => ({
            title: (
              <Text span inherit lineClamp={1} maw={160} title={each.label}>
                <bdi>{each.label}</bdi>
              </Text>
            ),
            right: true,
            cell: ({ at }) => (each.points[at] ? figureText(metric, each.points[at]) : "–"),
          }),
        )
      : []),
    {
      title: "Spend",
      right: true,
      cell: (row) => {
        const bucket = bucketOf(row);
        return bucket ? <Spend sums={bucket} /> : null;
      },
    },
    { title: "Calls", right: true, cell: (row) => whole(bucketOf(row)?.requests) },
    { title: "Denied", right: true, cell: (row) => whole(bucketOf(row)?.denied) },
  ];
  return (
    <Table
      label="Usage over time"
      columns={columns}
      rows={rows}
      rowKey={(row) => row.start}
      open={({ at }) => pick(at)}
    />
  );
}
