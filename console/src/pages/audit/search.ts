import { type Filters, filtersOf } from "@/parts/period";

/** What the address of the page says. */
export function auditSearch(search: Record<string, unknown>): Filters {
  return filtersOf(search);
}
