import { Text, type TextProps } from "@mantine/core";

/**
 * A name from outside, as text, whose direction stays its own. One that is longer than so many `lines` is cut
 * (whole on hover); with none, it stands within a sentence.
 */
export function Name({
  value,
  none = "none",
  lines = 2,
  ...text
}: { value: string | null | undefined; none?: string; lines?: number } & TextProps) {
  if (!value) {
    return (
      <Text span inherit={text.size === undefined} c="dimmed" fs="italic" {...text}>
        {none}
      </Text>
    );
  }
  return (
    <Text
      span
      inherit={text.size === undefined}
      {...(lines > 0 ? { lineClamp: lines } : {})}
      title={value}
      {...text}
    >
      <bdi>{value}</bdi>
    </Text>
  );
}
