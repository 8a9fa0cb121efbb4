/** Filters of the usage pages, as they stand in the address. */

/** Spans that can be chosen at once; `since` of the API takes them as they are. */
export const SPANS = [
  { value: "24h", label: "24 hours" },
  { value: "7d", label: "7 days" },
  { value: "30d", label: "30 days" },
  { value: "90d", label: "90 days" },
] as const;
export const DEFAULT_SPAN = "30d";

export const NAMES = ["principal", "agent", "model", "provider"] as const;
export type Name = (typeof NAMES)[number];

/** `since` and `until` are times or spans; a name that is absent means any, and an empty one none given. */
export interface Filters {
  since?: string;
  until?: string;
  principal?: string;
  agent?: string;
  model?: string;
  provider?: string;
}

const KEYS = ["since", "until", ...NAMES] as const;

/** The texts among `keys` of an address; whatever else is in it, is left out. */
export function textsOf<Key extends string>(
  search: Record<string, unknown>,
  keys: readonly Key[],
): Partial<Record<Key, string>> {
  const found: Partial<Record<Key, string>> = {};
  for (const key of keys) {
    const value = search[key];
    if (typeof value === "string") found[key] = value;
    else if (typeof value === "number" || typeof value === "boolean") found[key] = String(value);
  }
  return found;
}

/** The filters in an address. */
export function filtersOf(search: Record<string, unknown>): Filters {
  return textsOf(search, KEYS);
}

/** The same as parameters of the API. */
export function asQuery(filters: Filters): Filters & { since: string } {
  return { ...filtersOf({ ...filters }), since: filters.since ?? DEFAULT_SPAN };
}
