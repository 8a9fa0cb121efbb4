import {
  Autocomplete,
  Button,
  Group,
  Pill,
  Popover,
  SegmentedControl,
  Stack,
  TextInput,
} from "@mantine/core";
import { IconCalendar, IconFilter } from "@tabler/icons-react";
import { useState } from "react";
import { DEFAULT_SPAN, type Filters, NAMES, type Name, SPANS } from "./period";
import { momentText } from "./When";

/** Local time of an input of type datetime-local, as RFC 3339 in UTC. */
function toUtc(local: string): string | undefined {
  const at = new Date(local);
  return Number.isNaN(at.getTime()) ? undefined : at.toISOString();
}

function Custom({ filters, change }: { filters: Filters; change: (filters: Filters) => void }) {
  const [opened, setOpened] = useState(false);
  const [since, setSince] = useState("");
  const [until, setUntil] = useState("");
  const chosen = filters.since !== undefined && !SPANS.some((span) => span.value === filters.since);
  const text = chosen
    ? `${spanText(filters.since)} to ${filters.until ? spanText(filters.until) : "now"}`
    : "Other period";
  return (
    <Popover opened={opened} onChange={setOpened} position="bottom-start" trapFocus withinPortal>
      <Popover.Target>
        <Button
          variant={chosen ? "light" : "default"}
          size="xs"
          leftSection={<IconCalendar size={14} />}
          onClick={() => setOpened((before) => !before)}
        >
          {text}
        </Button>
      </Popover.Target>
      <Popover.Dropdown>
        <Stack gap="xs">
          <TextInput
            type="datetime-local"
            label="From"
            value={since}
            onChange={(event) => setSince(event.currentTarget.value)}
          />
          <TextInput
            type="datetime-local"
            label="To"
            description="Empty: until now"
            value={until}
            onChange={(event) => setUntil(event.currentTarget.value)}
          />
          <Button
            size="xs"
            disabled={toUtc(since) === undefined}
            onClick={() => {
              const end = toUtc(until);
              const { until: _, ...rest } = filters;
              change({ ...rest, since: toUtc(since) as string, ...(end ? { until: end } : {}) });
              setOpened(false);
            }}
          >
            Show
          </Button>
        </Stack>
      </Popover.Dropdown>
    </Popover>
  );
}

function spanText(text: string | undefined): string {
  if (!text) return "";
  return Number.isNaN(Date.parse(text)) ? text : momentText(text);
}

function AddFilter({
  names,
  known,
  add,
  adding,
}: {
  names: readonly Name[];
  known: Partial<Record<Name, readonly string[]>>;
  add: (name: Name, value: string) => void;
  adding: ((opened: boolean) => void) | undefined;
}) {
  const [opened, setOpen] = useState(false);
  const setOpened = (now: boolean) => {
    setOpen(now);
    adding?.(now);
  };
  const [texts, setTexts] = useState<Partial<Record<Name, string>>>({});
  const take = (name: Name, value: string) => {
    add(name, value);
    setTexts({});
    setOpened(false);
  };
  return (
    <Popover opened={opened} onChange={setOpened} position="bottom-start" trapFocus withinPortal>
      <Popover.Target>
        <Button
          variant="default"
          size="xs"
          leftSection={<IconFilter size={14} />}
          onClick={() => setOpened(!opened)}
        >
          Filter
        </Button>
      </Popover.Target>
      <Popover.Dropdown>
        <Stack gap="xs" w={240}>
          {names.map((name) => (
            <Autocomplete
              key={name}
              label={name}
              placeholder={`Any ${name}`}
              data={[...(known[name] ?? [])]}
              value={texts[name] ?? ""}
              onChange={(value) => setTexts((before) => ({ ...before, [name]: value }))}
              onOptionSubmit={(value) => take(name, value)}
              onKeyDown={(event) => {
                if (event.key === "Enter" && texts[name]) take(name, texts[name]);
              }}
              openOnFocus={false}
              comboboxProps={{ withinPortal: false }}
            />
          ))}
        </Stack>
      </Popover.Dropdown>
    </Popover>
  );
}

/**
 * The period and the names that a page is about. `known` are names to choose from; `adding` is told when
 * somebody is about to.
 */
export function FilterBar({
  filters,
  change,
  known = {},
  names = NAMES,
  adding,
}: {
  filters: Filters;
  change: (filters: Filters) => void;
  known?: Partial<Record<Name, readonly string[]>>;
  names?: readonly Name[];
  adding?: (opened: boolean) => void;
}) {
  const without = (name: Name) => {
    const rest = { ...filters };
    delete rest[name];
    change(rest);
  };
  const span = filters.since ?? DEFAULT_SPAN;
  return (
    <Group gap="xs" role="search" aria-label="Filters">
      <SegmentedControl
        size="xs"
        aria-label="Period"
        data={SPANS.map((each) => ({ ...each }))}
        value={filters.until === undefined && SPANS.some((each) => each.value === span) ? span : ""}
        onChange={(value) => {
          const { until: _, ...rest } = filters;
          change({ ...rest, since: value });
        }}
      />
      <Custom filters={filters} change={change} />
      <AddFilter
        names={names}
        known={known}
        adding={adding}
        add={(name, value) => change({ ...filters, [name]: value })}
      />
      {names.map((name) =>
        filters[name] === undefined ? null : (
          <Pill
            key={name}
            size="md"
            withRemoveButton
            onRemove={() => without(name)}
            removeButtonProps={{
              "aria-label": `Remove the filter on ${name}`,
              "aria-hidden": false,
              tabIndex: 0,
            }}
          >
            {name}: {filters[name] === "" ? "none" : filters[name]}
          </Pill>
        ),
      )}
    </Group>
  );
}
