import { type Filters, filtersOf } from "@/parts/period";

/** What the address of the page says. */
export function usageSearch(search: Record<string, unknown>): Filters {
  return filtersOf(search);
}

/** Whose session the page is about. */
export function sessionSearch(search: Record<string, unknown>): { principal?: string } {
  const { principal } = filtersOf(search);
  return principal === undefined ? {} : { principal };
}
