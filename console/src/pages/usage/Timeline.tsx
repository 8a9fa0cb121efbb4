import {
  Button,
  Card,
  Collapse,
  Group,
  NativeSelect,
  SegmentedControl,
  Stack,
  Text,
  Title,
} from "@mantine/core";
import { IconTable } from "@tabler/icons-react";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { usageTimelineOptions } from "@/client/@tanstack/react-query.gen";
import { NAMES, type Name } from "@/parts/period";
import { Empty, Loaded } from "@/parts/states";
import { ownZone } from "@/parts/When";
import { BucketTable } from "./BucketTable";
import { Chart } from "./Chart";
import { timelineQuery } from "./questions";
import { BUCKETS, type Bucket, METRICS, type Metric, type UsageSearch } from "./search";
import { type Series, seriesOf } from "./series";

const METRIC_WORDS: Record<Metric, string> = { cost: "Spend", tokens: "Tokens", calls: "Calls" };
const BUCKET_WORDS: Record<Bucket, string> = { auto: "Auto", hour: "Hour", day: "Day", month: "Month" };

type Change = (part: Partial<UsageSearch>) => void;

function Controls({
  search,
  change,
  unit,
}: {
  search: UsageSearch;
  change: Change;
  unit: string | undefined;
}) {
  const metric = search.metric ?? "cost";
  return (
    <Group justify="space-between" gap="sm">
      <Stack gap={0}>
        <Title order={2} size="h4">
          {METRIC_WORDS[metric]}
          {unit && ` per ${unit}`}
        </Title>
        <Text size="xs" c="dimmed">
          {search.zone === "utc" ? "UTC" : ownZone()}
        </Text>
      </Stack>
      <Group gap="xs">
        <SegmentedControl
          size="xs"
          aria-label="Figure"
          value={metric}
          data={METRICS.map((value) => ({ value, label: METRIC_WORDS[value] }))}
          onChange={(value) => change({ metric: value as Metric })}
        />
        <SegmentedControl
          size="xs"
          aria-label="Buckets"
          value={search.bucket ?? "auto"}
          data={BUCKETS.map((value) => ({ value, label: BUCKET_WORDS[value] }))}
          onChange={(value) => change({ bucket: value as Bucket, from: undefined, to: undefined })}
        />
        <NativeSelect
          size="xs"
          aria-label="Split by"
          value={search.by ?? "model"}
          data={NAMES.map((value) => ({ value, label: `by ${value}` }))}
          onChange={(event) => change({ by: event.currentTarget.value as Name, pick: undefined })}
        />
        <NativeSelect
          size="xs"
          aria-label="Time zone"
          value={search.zone ?? "own"}
          data={[
            { value: "own", label: "Own time" },
            { value: "utc", label: "UTC" },
          ]}
          onChange={(event) =>
            change({
              zone: event.currentTarget.value === "utc" ? "utc" : undefined,
              from: undefined,
              to: undefined,
            })
          }
        />
      </Group>
    </Group>
  );
}

/** Usage over time: stacked by a name, in buckets of the own time zone or of UTC. */
export function Timeline({ search, change }: { search: UsageSearch; change: Change }) {
  const [asTable, setAsTable] = useState(false);
  const metric = search.metric ?? "cost";
  const query = useQuery({
    ...usageTimelineOptions({ query: timelineQuery(search) }),
    placeholderData: keepPreviousData,
  });
  return (
    <Card withBorder padding="md">
      <Stack gap="md">
        <Controls search={search} change={change} unit={query.data?.bucket} />
        <Loaded query={query} height={300}>
          {(timeline) => {
            const series = seriesOf(timeline, metric);
            const pick = (at: number, one?: Series) => {
              const bucket = timeline.buckets[at];
              if (!bucket) return;
              const name = one === undefined || one.other ? undefined : one.name;
              change({ from: bucket.start, to: bucket.end, pick: name });
            };
            if (series.every((each) => each.points.every((point) => point === 0))) {
              return (
                <Empty title={`No ${METRIC_WORDS[metric].toLowerCase()} in this period`}>
                  Choose a longer period, or remove a filter.
                </Empty>
              );
            }
            const parts = { timeline, metric, series, pick };
            return (
              <>
                <figure
                  className="chart"
                  aria-label={`${METRIC_WORDS[metric]} per ${timeline.bucket}, by ${timeline.by}`}
                >
                  <Chart {...parts} picked={search.from} />
                </figure>
                <Group justify="space-between" gap="xs">
                  <Text size="xs" c="dimmed">
                    Click a bar to see the sessions in it.
                    {!timeline.aligned && " Days begin with the first full hour of UTC after midnight."}
                  </Text>
                  <Button
                    size="compact-xs"
                    variant="subtle"
                    leftSection={<IconTable size={14} />}
                    aria-expanded={asTable}
                    onClick={() => setAsTable((before) => !before)}
                  >
                    {asTable ? "Hide the table" : "Show as a table"}
                  </Button>
                </Group>
                <Collapse expanded={asTable} keepMounted={false}>
                  <BucketTable {...parts} />
                </Collapse>
              </>
            );
          }}
        </Loaded>
      </Stack>
    </Card>
  );
}
