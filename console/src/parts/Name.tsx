import { Text, type TextProps } from "@mantine/core";

/** A name from outside, as text: long ones are cut (whole on hover), and its direction stays its own. */
export function Name({
  value,
  none = "none",
  lines = 2,
  ...text
}: { value: string | null | undefined; none?: string; lines?: number } & TextProps) {
  if (!value) {
    return (
      <Text span inherit c="dimmed" fs="italic" {...text}>
        {none}
      </Text>
    );
  }
  return (
    <Text span inherit lineClamp={lines} title={value} {...text}>
      <bdi>{value}</bdi>
    </Text>
  );
}
