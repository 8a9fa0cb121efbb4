import { Group } from "@mantine/core";
import type { ReactNode } from "react";
import type { AlertShown } from "@/client";
import { usd, withUnit } from "@/parts/amounts";
import { Fact, Facts } from "@/parts/Facts";
import { TextLink } from "@/parts/links";
import { When } from "@/parts/When";
import { useMay } from "@/session/session";
import { numberOf, textOf } from "./words";

const TIMES = {
  window_end: "Window ends",
  exhausted_at: "Used up at about",
  expires_at: "Ends without a decision",
  since: "Since",
} as const;
const TEXTS = {
  entity: "Whose account",
  provider: "Provider",
  model: "Model",
  reason: "Why",
  gained: "More of",
  lost: "Less of",
} as const;
const AMOUNTS = { asked: "Asked for", held: "Held", used: "Used", expected: "Expected" } as const;
const MONEY = { cost_nano_usd: "Cost of the hour", usual_nano_usd: "Usual at that hour" } as const;
const HOUR_MS = 3_600_000;

/** What an alert knows, by name and in words: figures with their units, times on the reader's clock. */
function known({ facts }: AlertShown): [string, ReactNode][] {
  const metric = textOf(facts, "metric") ?? "";
  const found: [string, ReactNode][] = [];
  const consumed = numberOf(facts, "consumed");
  const add = (name: string, value: ReactNode) => found.push([name, value]);
  for (const [name, title] of Object.entries(TEXTS)) {
    const text = textOf(facts, name);
    if (text !== null && text !== "*") add(title, text);
  }
  if (consumed !== null) {
    add("Used or held", `${withUnit(metric, consumed)} of ${withUnit(metric, numberOf(facts, "limit"))}`);
  }
  for (const [name, title] of Object.entries(AMOUNTS)) {
    const amount = numberOf(facts, name);
    if (amount !== null) add(title, withUnit(metric, amount));
  }
  for (const [name, title] of Object.entries(MONEY)) {
    const amount = numberOf(facts, name);
    if (amount !== null) add(title, usd(amount));
  }
  const moved = numberOf(facts, "moved_percent");
  if (moved !== null) add("Moved to other models", `${moved} %`);
  for (const [name, title] of Object.entries(TIMES)) {
    const at = textOf(facts, name);
    if (at !== null) add(title, <When at={at} />);
  }
  return found;
}

/** The figures of an alert. */
export function Known({ alert }: { alert: AlertShown }) {
  const found = known(alert);
  if (found.length === 0) return null;
  return (
    <Facts columns={6}>
      {found.map(([name, value]) => (
        <Fact key={name} name={name}>
          {value}
        </Fact>
      ))}
    </Facts>
  );
}

/** The hour that a spike was in, as filters of usage; nothing for other alerts. */
function hourOf({ facts }: AlertShown): { since: string; until: string } | null {
  const hour = textOf(facts, "hour");
  if (hour === null) return null;
  return { since: hour, until: new Date(Date.parse(hour) + HOUR_MS).toISOString() };
}

/** The pages that tell more about an alert. */
export function Ways({ alert }: { alert: AlertShown }) {
  const viewer = useMay("viewer");
  const { facts, policy_id: policy, principal } = alert;
  const approval = textOf(facts, "approval_id");
  const request = textOf(facts, "request_id");
  const model = textOf(facts, "model") ?? textOf(facts, "gained");
  return (
    <Group gap="md" fz="sm">
      {approval && (
        <TextLink to="/approvals" search={{ id: approval }} inherit>
          Decide
        </TextLink>
      )}
      {policy && viewer && (
        <TextLink to="/budgets/$id" params={{ id: policy }} inherit>
          Budget {policy}
        </TextLink>
      )}
      {request && (
        <TextLink to="/decisions/$id" params={{ id: request }} inherit>
          The call
        </TextLink>
      )}
      {principal && (
        <TextLink to="/usage" search={{ principal, ...hourOf(alert) }} inherit>
          Usage of {principal}
        </TextLink>
      )}
      {!principal && model && (
        <TextLink to="/usage" search={{ model }} inherit>
          Usage of {model}
        </TextLink>
      )}
      {alert.kind === "provider_health" && viewer && (
        <TextLink to="/models" inherit>
          Models and providers
        </TextLink>
      )}
    </Group>
  );
}
