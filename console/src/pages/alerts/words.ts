/** Kinds of alerts, as people call them. */
export const KINDS = {
  budget_threshold: "Budget threshold",
  budget_exhausted: "Budget exhausted",
  forecast_exhaustion: "Budget will not last",
  approval_pending: "Approval pending",
  cost_spike: "Cost spike",
  unusual_model_mix: "Unusual model mix",
  provider_health: "Provider health",
  unpriced_model: "Model without a price",
  overrun: "Overrun",
  unsettled_reservation: "Unsettled reservation",
} as const;

/** The name of a kind; one that is not known says itself. */
export function kindText(kind: string): string {
  return kind in KINDS ? KINDS[kind as keyof typeof KINDS] : kind.replaceAll("_", " ");
}

/** A text among the facts of an alert; null if there is none. */
export function textOf(facts: { readonly [name: string]: unknown }, name: string): string | null {
  const value = facts[name];
  return typeof value === "string" && value !== "" ? value : null;
}

/** A number among the facts of an alert; null if there is none. */
export function numberOf(facts: { readonly [name: string]: unknown }, name: string): number | null {
  const value = facts[name];
  return typeof value === "number" ? value : null;
}
