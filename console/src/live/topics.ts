import type { Query } from "@tanstack/react-query";

/** What the daemon says has changed. */
export const TOPICS = ["usage", "decisions", "budgets", "approvals", "alerts", "models", "keys"] as const;
export type Topic = (typeof TOPICS)[number];

/** Which of the generated queries show a topic, by a part of their operation's name. */
const SHOWN_BY: Record<Topic, RegExp> = {
  usage: /usage|insight|routing|budgetsstatus|budgetstatus|allstatus/,
  decisions: /decision|getusagesession|listsession|getsession/,
  budgets: /budget|history|insight|listchanges/,
  approvals: /approval|budgetstatus|budgetsstatus|listchanges/,
  alerts: /alert|notice|insight|listchanges/,
  models: /model|insight/,
  keys: /key|listchanges/,
};

/** Whether `query` shows something of one of `topics`. */
export function shows(query: Query, topics: readonly string[]): boolean {
  const first = query.queryKey[0];
  const name =
    typeof first === "object" && first !== null && "_id" in first ? String(first._id) : String(first);
  return topics.some((topic) => SHOWN_BY[topic as Topic]?.test(name.toLowerCase()) ?? false);
}
