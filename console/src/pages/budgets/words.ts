import type { AccountShown, PolicyShown } from "@/client";
import { amountOf } from "@/parts/Amount";
import { inMetric, unitOf } from "@/parts/amounts";
import type { Levels } from "@/parts/Gauge";

const EVERY: Record<string, string> = {
  hour: "per hour",
  day: "per day",
  week: "per week",
  month: "per month",
  total: "in all",
  request: "per call",
};
const UNITS: Record<string, string> = { input_tokens: "input tokens", output_tokens: "output tokens" };
const ENDS: Record<string, string> = {
  block: "then calls are refused",
  approval_required: "then somebody is asked",
  degrade: "then calls move to cheaper models",
  alert: "then somebody is told",
};

/** Whom a scope binds: `every principal`, `agent indexer`, `everything`. */
export function whom(scope: string): string {
  const at = scope.indexOf(":");
  if (at < 0) return "everything";
  const [kind, id] = [scope.slice(0, at), scope.slice(at + 1)];
  if (id === "*") return `every ${kind}`;
  return kind === "tag" ? `calls tagged ${id.replace("=*", " (each value)")}` : `${kind} ${id}`;
}

/** A limit with its unit: `$5.00`, `120,000 tokens`. */
export function limitText(metric: string, amount: number | null | undefined): string {
  if (amount === null || amount === undefined) return "no limit";
  if (metric === "cost_usd") return inMetric(metric, amount);
  return `${inMetric(metric, amount)} ${UNITS[metric] ?? unitOf(metric)}`;
}

/** The hard limit of a budget in the unit of its metric, null without one. */
export function hardLimit(policy: PolicyShown): number | null {
  return policy.metric === "cost_usd" ? (policy.hard_limit_nano_usd ?? null) : asNumber(policy.hard_limit);
}

/** The soft limit likewise. */
export function softLimit(policy: PolicyShown): number | null {
  return policy.metric === "cost_usd" ? (policy.soft_limit_nano_usd ?? null) : asNumber(policy.soft_limit);
}

function asNumber(value: string | number | null): number | null {
  return value === null ? null : Number(value);
}

/** What a budget says, in a sentence. */
export function sentenceOf(policy: PolicyShown): string {
  const hard = hardLimit(policy);
  const soft = softLimit(policy);
  const limit = hard ?? soft;
  const what = policy.metric === "cost_usd" ? "spend up to" : "up to";
  const start = `${whom(policy.scope)}: ${what} ${limitText(policy.metric, limit)} ${EVERY[policy.interval]}`;
  return hard === null ? `${start}, then a warning` : `${start}, ${ENDS[policy.action]}`;
}

/** What a gauge shows of an account; what live overrides add is part of the limit. */
export function levelsOf(account: AccountShown): Levels {
  const { metric } = account;
  const of = (name: string) => amountOf({ ...account }, name, metric);
  const limit = of("limit");
  return {
    metric,
    posted: of("posted") ?? 0,
    held: of("held") ?? 0,
    forecast: of("forecast"),
    limit: limit === null ? null : limit + (of("extra") ?? 0),
    soft: of("soft_limit"),
  };
}

/** How much of its limit an account has used, 0 where there is none: for the order of accounts. */
export function usedPart(account: AccountShown): number {
  const { posted, held, limit } = levelsOf(account);
  return limit ? (posted + (held ?? 0)) / limit : 0;
}
