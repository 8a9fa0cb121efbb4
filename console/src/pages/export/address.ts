import { asQuery } from "@/parts/period";
import type { ExportSearch } from "./search";

/** The parameters of `/usage/export` that an address of the page stands for. */
export function exportQuery(search: ExportSearch, zone: string): Record<string, string> {
  const format = search.format ?? "csv";
  // FOCUS has one dataset, which is that of hours.
  const dataset = format === "focus" ? "hours" : (search.dataset ?? "timeline");
  const overTime = dataset === "timeline";
  return {
    dataset,
    format,
    ...asQuery(search),
    ...(overTime ? { bucket: search.bucket ?? "auto", timezone: search.zone === "utc" ? "UTC" : zone } : {}),
    ...(overTime && search.by ? { by: search.by } : {}),
  };
}

/** Where the file is, below this daemon's own address. */
export function exportPath(query: Record<string, string>): string {
  return `/api/v1/usage/export?${new URLSearchParams(query)}`;
}

/** A text as one word of a POSIX shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** The same for a shell: a line for curl, with a key that is not in it. */
export function curlLine(origin: string, query: Record<string, string>): string {
  const wanted = Object.entries(query).map(
    ([name, value]) => `  --data-urlencode ${quoted(`${name}=${value}`)}`,
  );
  return [
    `curl -fOJ -G ${origin}/api/v1/usage/export`,
    `  -H "authorization: Bearer $PALYRA_KEY"`,
    ...wanted,
  ].join(" \\\n");
}
