import { Group, Progress, Stack, Text } from "@mantine/core";
import type { ReactNode } from "react";
import { inMetric } from "./amounts";

/** Amounts of one account, in the unit of `metric`; null where there is none. */
export interface Levels {
  metric: string;
  posted: number;
  /** Absent where `posted` is all that was consumed, held or not. */
  held?: number;
  /** What a call would add. */
  asked?: number;
  /** What will be used up to the end of the window. */
  forecast?: number | null;
  limit: number | null;
  soft?: number | null;
}

/** How much of a limit is used: posted, held, what a call asks for, and what is foreseen, on one bar. */
export function Gauge({ levels, label, children }: { levels: Levels; label: string; children?: ReactNode }) {
  const { metric, posted, held = 0, asked = 0, forecast = null, limit, soft = null } = levels;
  const used = posted + held + asked;
  const full = Math.max(limit ?? 0, used, forecast ?? 0, soft ?? 0, 1);
  const part = (amount: number) => (Math.max(0, amount) / full) * 100;
  const over = limit !== null && used > limit;
  const warned = soft !== null && used > soft;
  const color = over ? "red.7" : warned ? "orange.6" : "lagoon.6";
  const more = Math.max(0, (forecast ?? 0) - used);
  const told = [
    `${inMetric(metric, posted)} ${levels.held === undefined ? "consumed" : "posted"}`,
    levels.held === undefined ? "" : `${inMetric(metric, held)} held`,
    asked ? `${inMetric(metric, asked)} asked for` : "",
    forecast === null ? "" : `${inMetric(metric, forecast)} forecast`,
    limit === null ? "no limit" : `limit ${inMetric(metric, limit)}`,
  ].filter(Boolean);
  return (
    <Stack gap={4}>
      <div className="gauge" role="img" aria-label={`${label}: ${told.join(", ")}`}>
        <Progress.Root size="lg" radius="sm">
          <Progress.Section value={part(posted)} color={color} aria-hidden />
          <Progress.Section value={part(held)} color="yellow.6" striped aria-hidden />
          <Progress.Section value={part(asked)} color="grape.5" aria-hidden />
          <Progress.Section value={part(more)} color="gray.5" striped aria-hidden />
        </Progress.Root>
        {limit !== null && limit < full && <div className="gauge-mark" style={{ left: `${part(limit)}%` }} />}
        {soft !== null && soft < full && (
          <div className="gauge-mark gauge-soft" style={{ left: `${part(soft)}%` }} />
        )}
      </div>
      <Group gap="md" justify="space-between">
        <Text size="xs" c="dimmed">
          {told.join(" · ")}
        </Text>
        {children}
      </Group>
    </Stack>
  );
}
