import { type Filters, filtersOf } from "@/parts/period";

/** What the address of the page says. */
export function alertsSearch(search: Record<string, unknown>): Filters {
  return filtersOf(search);
}
