import type { ApprovalShown } from "@/client";

/** What can be given, in the words of the page. */
export const GRANTS = {
  once: {
    label: "This call, once",
    about:
      "The very call that asked runs one time, wherever the budget stands then. It lasts a day at most, and not beyond the window.",
  },
  amount: {
    label: "More in this window",
    about: "Calls run up to the limit and this amount, until the window ends.",
  },
  timeboxed: {
    label: "More until a time",
    about: "So much more in every window, until that time: 31 days at most.",
  },
} as const;
export type GrantKind = keyof typeof GRANTS;

/** The kinds that a request can be given; the first one is what is usual. */
export function kindsFor(approval: ApprovalShown): GrantKind[] {
  const kinds: GrantKind[] = [];
  if (approval.request_id !== null) kinds.push("once");
  if (approval.interval !== "request") kinds.push("amount");
  return [...kinds, "timeboxed"];
}

/** Spans to choose from, in hours. */
export const SPANS = [
  { value: "1", label: "1 hour" },
  { value: "8", label: "8 hours" },
  { value: "24", label: "1 day" },
  { value: "168", label: "1 week" },
] as const;

const HOUR_MS = 3_600_000;

/** The time that is `hours` after `now` (ms), in UTC. */
export function after(hours: number, now: number): string {
  return new Date(now + hours * HOUR_MS).toISOString();
}
