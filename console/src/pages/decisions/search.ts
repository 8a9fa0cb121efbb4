import { type Filters, filtersOf } from "@/parts/period";

/** What the address of the page says. */
export function decisionsSearch(search: Record<string, unknown>): Filters {
  return filtersOf(search);
}
