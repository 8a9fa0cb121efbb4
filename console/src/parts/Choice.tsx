import { SegmentedControl } from "@mantine/core";

/** One of a few, as it stands in the address; wider than the screen, it scrolls by itself. */
export function Choice<Value extends string>({
  label,
  data,
  value,
  change,
}: {
  label: string;
  data: readonly { value: Value; label: string }[];
  value: Value;
  change: (value: Value) => void;
}) {
  return (
    <div className="scrolls">
      <SegmentedControl
        size="xs"
        aria-label={label}
        data={[...data]}
        value={value}
        onChange={(chosen) => change(chosen as Value)}
      />
    </div>
  );
}
