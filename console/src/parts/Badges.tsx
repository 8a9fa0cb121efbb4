import { Badge, type BadgeProps } from "@mantine/core";

const COLORS: Record<string, string> = {
  // decisions
  admit: "green",
  admitted: "green",
  settled: "green",
  released: "gray",
  in_doubt: "orange",
  ask: "yellow",
  approval_required: "yellow",
  override_applied: "blue",
  denied: "red",
  deny: "red",
  blocked: "red",
  expired: "gray",
  running: "blue",
  held: "blue",
  // budgets
  ok: "green",
  soft_limit: "yellow",
  hard_limit: "red",
  // approvals
  pending: "yellow",
  approved: "green",
  revoked: "gray",
  void: "gray",
  low: "green",
  medium: "yellow",
  high: "red",
  // alerts and their messages
  open: "red",
  firing: "red",
  waiting: "yellow",
  sent: "green",
  dead: "red",
  acknowledged: "yellow",
  resolved: "green",
  critical: "red",
  warning: "yellow",
  info: "blue",
  // providers
  healthy: "green",
  half_open: "yellow",
  degraded: "yellow",
  failing: "red",
  unknown: "gray",
};

/** A word of state in its colour; words that are not known are gray. */
export function State({ word, children, ...badge }: { word: string } & BadgeProps) {
  return (
    <Badge
      variant="light"
      color={COLORS[word] ?? "gray"}
      radius="sm"
      tt="none"
      flex="none"
      miw="max-content"
      {...badge}
    >
      {children ?? word.replaceAll("_", " ")}
    </Badge>
  );
}
