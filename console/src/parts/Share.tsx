import { Group, Progress, Text } from "@mantine/core";
import { percent } from "./amounts";

/** A share of all as a bar and in words; `value` in percent. */
export function Share({ value, label }: { value: string | number | null; label: string }) {
  const share = Math.max(0, Math.min(100, Number(value ?? 0)));
  return (
    <Group gap="xs" wrap="nowrap" miw={130}>
      <Progress value={share} size="sm" flex={1} aria-label={label} />
      <Text size="xs" c="dimmed" w={48} ta="right">
        {percent(value)}
      </Text>
    </Group>
  );
}
