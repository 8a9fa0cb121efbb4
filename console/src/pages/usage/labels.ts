/** How the buckets of a timeline are named. The API says them on the clock of the zone that was asked for. */

const IN_UTC = { timeZone: "UTC" } as const;
const HOUR = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", ...IN_UTC });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", ...IN_UTC });
const WEEKDAY = new Intl.DateTimeFormat("en-GB", {
  weekday: "short",
  day: "numeric",
  month: "short",
  year: "numeric",
  ...IN_UTC,
});
const MONTH = new Intl.DateTimeFormat("en-GB", { month: "short", year: "numeric", ...IN_UTC });

/** The local time of a label as if it were UTC, so that no other zone is mixed in. */
function local(label: string): Date {
  return new Date(`${label.slice(0, 19)}${"0000-01-01T00:00:00".slice(label.length)}Z`);
}

/** For an axis: `24 Nov`, `14:00` (midnight is the day), `Nov 2026`. */
export function shortLabel(unit: string, label: string): string {
  const at = local(label);
  if (unit === "month") return MONTH.format(at);
  if (unit === "day") return DAY.format(at);
  return at.getUTCHours() === 0 ? DAY.format(at) : HOUR.format(at);
}

/** In full: `Tue, 24 Nov 2026`, and with the hour where it is one. */
export function longLabel(unit: string, label: string): string {
  const at = local(label);
  if (unit === "month") return MONTH.format(at);
  return unit === "day" ? WEEKDAY.format(at) : `${WEEKDAY.format(at)}, ${HOUR.format(at)}`;
}
