import { type Filters, filtersOf, NAMES, type Name, textsOf } from "@/parts/period";

export const METRICS = ["cost", "tokens", "calls"] as const;
export type Metric = (typeof METRICS)[number];
export const BUCKETS = ["auto", "hour", "day", "month"] as const;
export type Bucket = (typeof BUCKETS)[number];
export const VIEWS = ["principals", "agents", "models", "providers", "sessions", "tags"] as const;
export type View = (typeof VIEWS)[number];
export const SORTS = ["cost", "tokens", "calls", "denied", "name"] as const;
export type Sort = (typeof SORTS)[number];

/** The chart and the table, beside the filters. What is absent is as by default. */
export interface UsageSearch extends Filters {
  metric?: Metric;
  bucket?: Bucket;
  by?: Name;
  /** `utc`; absent: the zone of the browser. */
  zone?: "utc";
  view?: View;
  sort?: Sort;
  /** The bucket that is looked into, as times of the API, and the name of a group in it. */
  from?: string;
  to?: string;
  pick?: string;
}

const TEXTS = ["metric", "bucket", "by", "zone", "view", "sort", "from", "to", "pick"] as const;

function oneOf<Word extends string>(words: readonly Word[], text: string | undefined): Word | undefined {
  return words.find((word) => word === text);
}

/** What the address of the page says; what it cannot say is left out. */
export function usageSearch(search: Record<string, unknown>): UsageSearch {
  const texts = textsOf(search, TEXTS);
  const found: UsageSearch = {
    ...filtersOf(search),
    ...texts,
    metric: oneOf(METRICS, texts.metric),
    bucket: oneOf(BUCKETS, texts.bucket),
    by: oneOf(NAMES, texts.by),
    zone: oneOf(["utc"] as const, texts.zone),
    view: oneOf(VIEWS, texts.view),
    sort: oneOf(SORTS, texts.sort),
  };
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
}

/** Whose session the page is about. */
export function sessionSearch(search: Record<string, unknown>): { principal?: string } {
  const { principal } = filtersOf(search);
  return principal === undefined ? {} : { principal };
}
