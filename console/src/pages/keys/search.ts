import { textsOf } from "@/parts/period";

export const STATES = [
  { value: "live", label: "In force" },
  { value: "revoked", label: "Revoked" },
  { value: "any", label: "All" },
] as const;
export type StateChoice = (typeof STATES)[number]["value"];

/** Which keys are listed: by what their prefix, principal, agent, tags or id has in it. */
export interface KeysSearch {
  state?: StateChoice;
  q?: string;
}

/** What the address of the page says. */
export function keysSearch(search: Record<string, unknown>): KeysSearch {
  const { state, q } = textsOf(search, ["state", "q"]);
  const chosen = STATES.find((each) => each.value === state);
  return { ...(chosen && { state: chosen.value }), ...(q && { q }) };
}
