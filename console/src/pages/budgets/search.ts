import { textsOf } from "@/parts/period";

export const VIEWS = ["accounts", "history", "edit"] as const;
export type View = (typeof VIEWS)[number];

/** Which view of a budget is open. */
export interface BudgetSearch {
  view?: View;
}

/** What the address of the page says. */
export function budgetSearch(search: Record<string, unknown>): BudgetSearch {
  const { view } = textsOf(search, ["view"]);
  return VIEWS.some((each) => each === view) ? { view: view as View } : {};
}
