import { Card, Group, Stack, Text, Tooltip } from "@mantine/core";
import { IconArrowDownRight, IconArrowUpRight } from "@tabler/icons-react";
import type { ReactNode } from "react";
import { percent, whole } from "./amounts";

/** Whether more of a figure is good news, bad news, or neither. */
export type Leaning = "good" | "bad" | "neutral";

/** From here on a factor says more than percent. */
const TENFOLD = 900;

function Change({ change, leaning }: { change: string; leaning: Leaning }) {
  const value = Number(change);
  if (value === 0) {
    return (
      <Text size="xs" c="dimmed">
        unchanged
      </Text>
    );
  }
  const good = leaning === "neutral" ? null : value > 0 === (leaning === "good");
  const Arrow = value > 0 ? IconArrowUpRight : IconArrowDownRight;
  const color = good === null ? "dimmed" : good ? "var(--good)" : "var(--bad)";
  return (
    <Group gap={2} wrap="nowrap" c={color}>
      <Arrow size={14} aria-hidden />
      <Text size="xs" fw={600} c="inherit">
        {value >= TENFOLD ? `× ${whole(Math.round(value / 100 + 1))}` : percent(Math.abs(value))}
      </Text>
      <Text size="xs" className="visually-hidden">
        {value > 0 ? "more" : "less"} than before
      </Text>
    </Group>
  );
}

/** One figure on a card; `change` is in percent of the period before, null where that is not known. */
export function Figure({
  label,
  value,
  about,
  change,
  leaning = "neutral",
  testId,
}: {
  label: string;
  value: ReactNode;
  about?: ReactNode;
  change?: string | null;
  leaning?: Leaning;
  testId?: string;
}) {
  return (
    <Card withBorder padding="md" data-figure={testId}>
      <Stack gap={4}>
        <Text size="xs" c="dimmed" fw={600} tt="uppercase" lts="0.03em">
          {label}
        </Text>
        <Text size="1.5rem" fw={700} className="figure-value" component="div">
          {value}
        </Text>
        <Group gap="xs">
          {change !== undefined && change !== null && (
            <Tooltip label="Against the period of the same length before" openDelay={300}>
              <div>
                <Change change={change} leaning={leaning} />
              </div>
            </Tooltip>
          )}
          {about && (
            <Text size="xs" c="dimmed" component="div">
              {about}
            </Text>
          )}
        </Group>
      </Stack>
    </Card>
  );
}
