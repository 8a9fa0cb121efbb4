import { textsOf } from "@/parts/period";

export const STATES = [
  { value: "pending", label: "Pending" },
  { value: "approved", label: "Approved" },
  { value: "denied", label: "Denied" },
  { value: "expired", label: "Expired" },
  { value: "void", label: "Void" },
  { value: "revoked", label: "Revoked" },
  { value: "any", label: "All" },
] as const;
export type StateChoice = (typeof STATES)[number]["value"];

/** Which requests are listed (those that wait, where nothing is said), and which one is shown. */
export interface ApprovalsSearch {
  state?: StateChoice;
  id?: string;
}

/** What the address of the page says. */
export function approvalsSearch(search: Record<string, unknown>): ApprovalsSearch {
  const { state, id } = textsOf(search, ["state", "id"]);
  const known = STATES.find((each) => each.value === state);
  return { ...(known && { state: known.value }), ...(id && { id }) };
}
