/** How figures are written for people. Amounts of money come as nano-USD (integers) or as decimal strings. */

const NANO_PER_USD = 1_000_000_000;
const COMPACT = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });
const WHOLE = new Intl.NumberFormat("en-US");

/** A rounded amount: `$1,234.50`, `$0.0027`, `<$0.0001`. For the exact one see `exactUsd`. */
export function usd(nano: number | null | undefined): string {
  if (nano === null || nano === undefined) return "–";
  const amount = nano / NANO_PER_USD;
  const size = Math.abs(amount);
  if (size === 0) return "$0";
  if (size < 0.0001) return amount < 0 ? ">-$0.0001" : "<$0.0001";
  const digits = size >= 1_000 ? 0 : size >= 1 ? 2 : size >= 0.01 ? 3 : 4;
  const text = size.toLocaleString("en-US", {
    minimumFractionDigits: Math.min(digits, 2),
    maximumFractionDigits: digits,
  });
  return `${amount < 0 ? "-" : ""}$${text}`;
}

/** The exact amount, as the API says it. */
export function exactUsd(text: string | null | undefined): string {
  return text === null || text === undefined ? "–" : `${text} USD`;
}

/** `1.2M`, `830`. */
export function compact(count: number | null | undefined): string {
  return count === null || count === undefined ? "–" : COMPACT.format(count);
}

/** `1,234,567`. */
export function whole(count: number | null | undefined): string {
  return count === null || count === undefined ? "–" : WHOLE.format(count);
}

/** `850 ms`, `2.4 s`, `3 min`. */
export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  return `${Math.round(ms / 60_000)} min`;
}

/** `12.4 %`; what the API cannot say (a share of nothing) is a dash. */
export function percent(value: string | number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  const number = Number(value);
  return `${number.toLocaleString("en-US", { maximumFractionDigits: 1 })} %`;
}

/** An amount of a budget in the unit of its metric: `cost_usd` in nano-USD, all others are counts. */
export function inMetric(metric: string, amount: number | null | undefined): string {
  return metric === "cost_usd" ? usd(amount) : whole(amount);
}

/** `tokens`, `calls` or `USD`, behind an amount. */
export function unitOf(metric: string): string {
  if (metric === "cost_usd") return "USD";
  return metric === "requests" ? "calls" : "tokens";
}

/** An amount of a budget with its unit: `$5.00`, `12,000 tokens`, `1 call`. */
export function withUnit(metric: string, amount: number | null | undefined): string {
  const text = inMetric(metric, amount);
  if (metric === "cost_usd" || amount === null || amount === undefined) return text;
  return `${text} ${amount === 1 ? unitOf(metric).slice(0, -1) : unitOf(metric)}`;
}
