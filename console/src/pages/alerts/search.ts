import { textsOf } from "@/parts/period";

export const STATES = [
  { value: "open", label: "Open" },
  { value: "acknowledged", label: "Acknowledged" },
  { value: "resolved", label: "Resolved" },
  { value: "any", label: "All" },
] as const;
export type StateChoice = (typeof STATES)[number]["value"];

export const VIEWS = [
  { value: "alerts", label: "Alerts" },
  { value: "messages", label: "Messages" },
] as const;
export type View = (typeof VIEWS)[number]["value"];

export const MESSAGE_STATES = [
  { value: "any", label: "All" },
  { value: "waiting", label: "Waiting" },
  { value: "sent", label: "Sent" },
  { value: "dead", label: "Given up" },
] as const;
export type MessageState = (typeof MESSAGE_STATES)[number]["value"];

/** Which alerts are listed (the open ones, where nothing is said), or which messages about them. */
export interface AlertsSearch {
  view?: View;
  state?: StateChoice;
  messages?: MessageState;
  kind?: string;
  policy?: string;
  principal?: string;
}

/** What the address of the page says. */
export function alertsSearch(search: Record<string, unknown>): AlertsSearch {
  const { view, state, messages, ...names } = textsOf(search, [
    "view",
    "state",
    "messages",
    "kind",
    "policy",
    "principal",
  ]);
  const found: AlertsSearch = { ...names };
  const chosen = STATES.find((each) => each.value === state);
  if (chosen) found.state = chosen.value;
  const shown = VIEWS.find((each) => each.value === view);
  if (shown) found.view = shown.value;
  const sent = MESSAGE_STATES.find((each) => each.value === messages);
  if (sent) found.messages = sent.value;
  return found;
}

/** The same as parameters of the API. */
export function alertsQuery({ state = "open", kind, policy, principal }: AlertsSearch) {
  return {
    ...(state === "open" && { state: "firing", acknowledged: false }),
    ...(state === "acknowledged" && { state: "firing", acknowledged: true }),
    ...(state === "resolved" && { state: "resolved" }),
    ...(kind && { kind }),
    ...(policy && { policy_id: policy }),
    ...(principal && { principal }),
  };
}
