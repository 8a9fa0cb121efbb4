import type { PolicyShown } from "@/client";

/** A threshold as it is written in the form. */
export interface ThresholdDraft {
  at: string;
  then: string;
  to: string;
}

export const NEW_THRESHOLD: ThresholdDraft = { at: "0.8", then: "notify", to: "" };

/** A budget as it is written in the form: texts, "" where nothing is said. */
export interface Draft {
  id: string;
  name: string;
  kind: string;
  entity: string;
  metric: string;
  interval: string;
  timezone: string;
  soft_limit: string;
  hard_limit: string;
  action: string;
  mode: string;
  routing_mode_override: string;
  degrade_to: string;
  min_output_tokens: string;
  unknown_price: string;
  valid_from: string;
  valid_until: string;
  enabled: boolean;
  thresholds: ThresholdDraft[];
}

export const NEW: Draft = {
  id: "",
  name: "",
  kind: "principal",
  entity: "*",
  metric: "cost_usd",
  interval: "day",
  timezone: "",
  soft_limit: "",
  hard_limit: "",
  action: "block",
  mode: "",
  routing_mode_override: "",
  degrade_to: "",
  min_output_tokens: "",
  unknown_price: "",
  valid_from: "",
  valid_until: "",
  enabled: true,
  thresholds: [],
};

function written(value: string | number | null | undefined): string {
  return value === null || value === undefined ? "" : String(value);
}

/** A stored budget as the form has it. */
export function draftOf(policy: PolicyShown): Draft {
  const at = policy.scope.indexOf(":");
  return {
    id: policy.id,
    name: policy.name,
    kind: at < 0 ? policy.scope : policy.scope.slice(0, at),
    entity: at < 0 ? "" : policy.scope.slice(at + 1),
    metric: policy.metric,
    interval: policy.interval,
    timezone: policy.timezone,
    soft_limit: written(policy.soft_limit),
    hard_limit: written(policy.hard_limit),
    action: policy.action,
    mode: written(policy.mode),
    routing_mode_override: written(policy.routing_mode_override),
    degrade_to: written(policy.degrade_to),
    min_output_tokens: written(policy.min_output_tokens),
    unknown_price: written(policy.unknown_price),
    valid_from: written(policy.valid_from),
    valid_until: written(policy.valid_until),
    enabled: policy.enabled,
    thresholds: policy.thresholds.map((each) => ({ at: each.at, then: each.then, to: written(each.to) })),
  };
}

/** Fields whose values go to the API as they are written. */
const TEXTS = [
  "id",
  "name",
  "metric",
  "interval",
  "timezone",
  "action",
  "mode",
  "routing_mode_override",
  "degrade_to",
  "unknown_price",
  "valid_from",
  "valid_until",
] as const;

const WHOLE = /^\d{1,15}$/;

/** Limits of money stay texts: a float would not be exact. Others are whole numbers where they look like it. */
function amount(metric: string, text: string): string | number {
  return metric !== "cost_usd" && WHOLE.test(text) ? Number(text) : text;
}

/** The draft as a document for the API, which says what is wrong with it. */
export function documentOf(draft: Draft): Record<string, unknown> {
  const document: Record<string, unknown> = {
    scope: draft.kind === "global" ? "global" : `${draft.kind}:${draft.entity.trim()}`,
    enabled: draft.enabled,
  };
  for (const name of TEXTS) {
    const text = draft[name].trim();
    if (text !== "") document[name] = text;
  }
  for (const name of ["soft_limit", "hard_limit"] as const) {
    const text = draft[name].trim();
    if (text !== "") document[name] = amount(draft.metric, text);
  }
  const least = draft.min_output_tokens.trim();
  if (least !== "") document.min_output_tokens = WHOLE.test(least) ? Number(least) : least;
  if (draft.thresholds.length > 0) {
    document.thresholds = draft.thresholds.map(({ at, then, to }) => ({
      at: at.trim(),
      then,
      ...(to.trim() === "" ? {} : { to: to.trim() }),
    }));
  }
  return document;
}
