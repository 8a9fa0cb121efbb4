import type { DecisionWhole } from "@/client";
import { usd, whole } from "@/parts/amounts";

/** One step of what became of a call's money, or tokens: a bar from `from` to `to`. */
export interface Step {
  name: "expected" | "held" | "settled" | "released" | "overrun";
  label: string;
  from: number;
  to: number;
}

/** The steps, in nano-USD, or in tokens where no price is known. */
export interface Fall {
  unit: "usd" | "tokens";
  steps: Step[];
}

/** An amount of a fall in its unit. */
export function amountText(unit: Fall["unit"], amount: number): string {
  return unit === "usd" ? usd(amount) : `${whole(amount)} tokens`;
}

function after(held: number, used: number): Step[] {
  if (used > held) return [{ name: "overrun", label: "Overrun", from: held, to: used }];
  return [{ name: "released", label: "Released", from: used, to: held }];
}

function heldWord(decision: DecisionWhole): string {
  return decision.state === "denied" ? "Would have held" : "Held";
}

function inUsd(decision: DecisionWhole, held: number): Step[] {
  const { estimate, settlement, state } = decision;
  const steps: Step[] = [];
  const expected = estimate?.cost_expected_nano_usd ?? null;
  if (expected !== null) steps.push({ name: "expected", label: "Expected", from: 0, to: expected });
  steps.push({ name: "held", label: heldWord(decision), from: 0, to: held });
  if (settlement === null || state === "in_doubt") return steps;
  const cost = state === "released" ? 0 : settlement.cost_nano_usd;
  if (cost === null) return steps;
  return [...steps, { name: "settled", label: "Settled", from: 0, to: cost }, ...after(held, cost)];
}

function inTokens(decision: DecisionWhole): Step[] {
  const { estimate, settlement } = decision;
  if (estimate === null) return [];
  const bound = estimate.input_tokens_bound + estimate.output_tokens_bound;
  const steps: Step[] = [{ name: "held", label: heldWord(decision), from: 0, to: bound }];
  const usage = settlement?.usage ?? null;
  if (usage === null) return steps;
  const used = usage.input_tokens + usage.output_tokens;
  return [...steps, { name: "settled", label: "Used", from: 0, to: used }, ...after(bound, used)];
}

/** What was expected, held, settled and given back. */
export function fallOf(decision: DecisionWhole): Fall {
  const held = decision.settlement?.held_nano_usd ?? decision.estimate?.cost_bound_nano_usd ?? null;
  if (
    held === null ||
    (decision.settlement?.state === "settled" && decision.settlement.cost_nano_usd === null)
  ) {
    return { unit: "tokens", steps: inTokens(decision) };
  }
  return { unit: "usd", steps: inUsd(decision, held) };
}
