import { Text, type TextProps } from "@mantine/core";
import { withUnit } from "./amounts";
import { Money } from "./Money";

/** A document of the API with amounts in the unit of its metric. */
export type Amounts = { readonly [name: string]: unknown };

/** An amount by its name: nano-USD where the metric is money, else a count; null where there is none. */
export function amountOf(amounts: Amounts, name: string, metric: string): number | null {
  const value = amounts[metric === "cost_usd" ? `${name}_nano_usd` : name];
  return typeof value === "number" ? value : null;
}

/** The same as it is written in forms and bodies: `0.25`, `20000`; empty where there is none. */
export function writtenOf(amounts: Amounts, name: string, metric: string): string {
  const value = amounts[metric === "cost_usd" ? `${name}_usd` : name];
  return typeof value === "string" || typeof value === "number" ? String(value) : "";
}

/** An amount of a document, in the unit of its metric: `$0.25`, `20,000 tokens`. */
export function Amount({
  amounts,
  name,
  metric,
  ...text
}: { amounts: Amounts; name: string; metric: string } & TextProps) {
  const amount = amountOf(amounts, name, metric);
  if (metric === "cost_usd") {
    return <Money nano={amount} exact={writtenOf(amounts, name, metric) || null} {...text} />;
  }
  return (
    <Text span inherit {...text} data-amount={amount ?? undefined}>
      {withUnit(metric, amount)}
    </Text>
  );
}
