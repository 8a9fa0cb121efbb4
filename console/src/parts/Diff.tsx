import { Text } from "@mantine/core";
import type { FieldChanged } from "@/client";

const DERIVED = /_(nano_)?usd$/;

function told(value: unknown): string {
  if (value === null || value === undefined) return "not set";
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** The changes that say something of their own: an amount is said once, as it was written. */
export function ownChanges(changes: readonly FieldChanged[]): FieldChanged[] {
  const names = new Set(changes.map((each) => each.field));
  return changes.filter((each) => !(DERIVED.test(each.field) && names.has(each.field.replace(DERIVED, ""))));
}

/** Changed fields, before and after. What was made or is gone is told as it was set. */
export function Diff({ changes }: { changes: readonly FieldChanged[] }) {
  return ownChanges(changes).map((change) => (
    <div key={change.field} className="diff" data-field={change.field}>
      <Text span size="sm" fw={600}>
        {change.field}
      </Text>
      {change.before !== null && <del>{told(change.before)}</del>}
      {change.before !== null && change.after !== null && <span className="visually-hidden"> became </span>}
      {change.after !== null && <ins>{told(change.after)}</ins>}
    </div>
  ));
}

/** The same in one line, for something that was made or is gone. */
export function setText(changes: readonly FieldChanged[]): string {
  return ownChanges(changes)
    .map((each) => `${each.field}: ${told(each.after ?? each.before)}`)
    .join(", ");
}
