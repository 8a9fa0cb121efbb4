import { textsOf } from "@/parts/period";

/** What is changed: the first word of the kind of a change. */
export const KINDS = ["policy", "key", "approval", "alert", "price", "governance", "pricebook"] as const;

/** Which changes are listed; `since` is a span such as 30d. */
export interface AuditSearch {
  kind?: string;
  ref?: string;
  by?: string;
  since?: string;
}

/** What the address of the page says. */
export function auditSearch(search: Record<string, unknown>): AuditSearch {
  return textsOf(search, ["kind", "ref", "by", "since"]);
}
