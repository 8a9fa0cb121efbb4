import { asQuery, type Filters } from "@/parts/period";
import { ownZone } from "@/parts/When";
import type { UsageSearch } from "./search";

const SERIES = 7;

/** What `/usage/timeline` is asked for. */
export function timelineQuery(search: UsageSearch) {
  return {
    ...asQuery(search),
    metric: search.metric ?? "cost",
    bucket: search.bucket ?? "auto",
    by: search.by ?? "model",
    timezone: search.zone === "utc" ? "UTC" : ownZone(),
    top: SERIES,
  };
}

/** The filters of the bucket that is looked into: its time, and the name that was picked in it. */
export function bucketFilters(search: UsageSearch): Filters {
  const { from, to, pick, by = "model" } = search;
  return {
    ...asQuery(search),
    ...(from === undefined ? {} : { since: from }),
    ...(to === undefined ? {} : { until: to }),
    ...(pick === undefined ? {} : { [by]: pick }),
  };
}
