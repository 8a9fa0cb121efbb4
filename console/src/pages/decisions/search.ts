import { type Filters, filtersOf, textsOf } from "@/parts/period";

export const OUTCOMES = ["admit", "deny", "ask"] as const;
export const STATES = ["pending", "settled", "released", "in_doubt", "denied"] as const;

const TEXTS = ["session", "outcome", "state", "status", "tag", "min_cost_usd"] as const;

/** Which decisions are shown: the filters of usage, and what only single calls have. */
export type DecisionsSearch = Filters & Partial<Record<(typeof TEXTS)[number], string>>;

/** What the address of the page says. */
export function decisionsSearch(search: Record<string, unknown>): DecisionsSearch {
  return { ...filtersOf(search), ...textsOf(search, TEXTS) };
}
