import { asQuery, type Filters, filtersOf, textsOf } from "@/parts/period";

export const OUTCOMES = ["admit", "ask", "deny"] as const;
export const STATES = ["pending", "settled", "released", "in_doubt", "denied"] as const;

/** What only single calls have, beside the filters of usage. */
export const WANTED = [
  "session",
  "outcome",
  "state",
  "status",
  "tag",
  "min_cost",
  "rerouted",
  "request_id",
] as const;
export type Wanted = (typeof WANTED)[number];
export type DecisionsSearch = Filters & Partial<Record<Wanted, string>>;

/** What the address of the page says. */
export function decisionsSearch(search: Record<string, unknown>): DecisionsSearch {
  return { ...filtersOf(search), ...textsOf(search, WANTED) };
}

/** The same as the API takes it. What was left empty is not asked for. */
export function decisionsQuery(search: DecisionsSearch) {
  const { rerouted, outcome, state, ...texts } = textsOf({ ...search }, WANTED);
  const given = Object.entries(texts).filter(([, text]) => text !== "");
  const inState = STATES.find((each) => each === state);
  const withOutcome = OUTCOMES.find((each) => each === outcome);
  return {
    ...asQuery(search),
    ...(Object.fromEntries(given) as typeof texts),
    ...(rerouted ? { rerouted: rerouted === "true" } : {}),
    ...(withOutcome ? { outcome: withOutcome } : {}),
    ...(inState ? { state: inState } : {}),
  };
}
