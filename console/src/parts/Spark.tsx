import { Sparkline } from "@mantine/charts";
import { Text } from "@mantine/core";

/** The course of a figure, small; `label` says it in words. */
export function Spark({ points, label }: { points: readonly number[]; label: string }) {
  if (points.every((each) => each === 0)) {
    return (
      <Text size="xs" c="dimmed">
        –
      </Text>
    );
  }
  return (
    <div role="img" aria-label={label}>
      <Sparkline
        w={110}
        h={28}
        color="lagoon.6"
        data={[...points]}
        curveType="monotone"
        fillOpacity={0.25}
        strokeWidth={1.5}
      />
    </div>
  );
}
