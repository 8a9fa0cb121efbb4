import { Text, type TextProps, Tooltip } from "@mantine/core";
import { exactUsd, usd } from "./amounts";

/** An amount, rounded; the exact one, to the nano-USD, on hover and for machines in `data-nano-usd`. */
export function Money({
  nano,
  exact,
  ...text
}: { nano: number | null | undefined; exact: string | null | undefined } & TextProps) {
  return (
    <Tooltip label={exactUsd(exact)} disabled={exact === null || exact === undefined} openDelay={300}>
      <Text span inherit {...text} data-nano-usd={nano ?? undefined}>
        {usd(nano)}
      </Text>
    </Tooltip>
  );
}
