import { type Filters, filtersOf, NAMES, type Name, textsOf } from "@/parts/period";

/** The datasets of an export: how each is called, and what one row of it is. */
export const DATASETS = {
  timeline: { label: "Timeline", row: "one period: an hour, a day or a month" },
  principals: { label: "Principals", row: "one principal" },
  agents: { label: "Agents", row: "one agent" },
  models: { label: "Models", row: "one model at one provider" },
  providers: { label: "Providers", row: "one provider" },
  hours: { label: "Hours", row: "one hour of one principal, agent, model and provider" },
} as const;
export type Dataset = keyof typeof DATASETS;
export const FORMATS = { csv: "CSV", json: "JSON", focus: "FOCUS 1.2" } as const;
export type Format = keyof typeof FORMATS;
export const BUCKETS = ["auto", "hour", "day", "month"] as const;

/** What is exported. Absent: the timeline as CSV, in buckets that fit, in the zone of the browser. */
export interface ExportSearch extends Filters {
  dataset?: Dataset;
  format?: Format;
  bucket?: (typeof BUCKETS)[number];
  by?: Name;
  zone?: "utc";
}

function oneOf<Word extends string>(words: readonly Word[], text: string | undefined): Word | undefined {
  return words.find((word) => word === text);
}

/** What the address of the page says; what it cannot say is left out. */
export function exportSearch(search: Record<string, unknown>): ExportSearch {
  const texts = textsOf(search, ["dataset", "format", "bucket", "by", "zone"]);
  const found: ExportSearch = {
    ...filtersOf(search),
    dataset: oneOf(Object.keys(DATASETS) as Dataset[], texts.dataset),
    format: oneOf(Object.keys(FORMATS) as Format[], texts.format),
    bucket: oneOf(BUCKETS, texts.bucket),
    by: oneOf(NAMES, texts.by),
    zone: oneOf(["utc"] as const, texts.zone),
  };
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
}
