import {
  Accordion,
  ActionIcon,
  Autocomplete,
  Button,
  Group,
  SegmentedControl,
  Select,
  SimpleGrid,
  Stack,
  Switch,
  Text,
  TextInput,
} from "@mantine/core";
import { IconPlus, IconTrash } from "@tabler/icons-react";
import { unitOf } from "@/parts/amounts";
import { ownZone } from "@/parts/When";
import { type Draft, NEW_THRESHOLD, type ThresholdDraft } from "./draft";

/** What every group of fields is given. `problemOf` says what is wrong with a field, if anything. */
export interface FieldsProps {
  draft: Draft;
  change: (part: Partial<Draft>) => void;
  problemOf: (field: string) => string | undefined;
}

const KINDS = [
  { value: "global", label: "Everything" },
  { value: "principal", label: "Principal" },
  { value: "agent", label: "Agent" },
  { value: "session", label: "Session" },
  { value: "provider", label: "Provider" },
  { value: "model", label: "Model" },
  { value: "tag", label: "Tag" },
];
const METRICS = [
  { value: "cost_usd", label: "Money (USD)" },
  { value: "total_tokens", label: "Tokens" },
  { value: "input_tokens", label: "Input tokens" },
  { value: "output_tokens", label: "Output tokens" },
  { value: "requests", label: "Calls" },
];
const INTERVALS = [
  { value: "request", label: "each call" },
  { value: "hour", label: "hour" },
  { value: "day", label: "day" },
  { value: "week", label: "week" },
  { value: "month", label: "month" },
  { value: "total", label: "in all" },
];
const ACTIONS = [
  { value: "block", label: "Refuse the call" },
  { value: "approval_required", label: "Ask somebody" },
  { value: "degrade", label: "Move to a cheaper model" },
  { value: "alert", label: "Only tell" },
];
const MODES = [
  { value: "enforced", label: "Enforced" },
  { value: "dry_run", label: "Dry run: say what it would do" },
  { value: "suggest", label: "Suggest" },
];
const THEN = [
  { value: "notify", label: "tell" },
  { value: "routing_mode", label: "change the mode to" },
  { value: "degrade", label: "move to a cheaper model" },
];
const UNKNOWN = [
  { value: "deny", label: "Refuse" },
  { value: "ceiling", label: "Count at the highest price" },
  { value: "allow", label: "Let run, and say so" },
];

/** Which budget it is, and whom it binds. */
export function ScopeFields({
  draft,
  change,
  problemOf,
  isNew,
  taken,
}: FieldsProps & { isNew: boolean; taken: string | undefined }) {
  return (
    <Stack>
      <SimpleGrid cols={{ base: 1, sm: 2 }}>
        <TextInput
          label="Id"
          description="Letters, digits, dot, dash, underscore"
          placeholder="research-daily"
          required
          readOnly={!isNew}
          value={draft.id}
          onChange={(event) => change({ id: event.currentTarget.value })}
          error={taken ?? problemOf("id")}
        />
        <TextInput
          label="Name"
          description="For people; the id without one"
          value={draft.name}
          onChange={(event) => change({ name: event.currentTarget.value })}
          error={problemOf("name")}
        />
        <Select
          label="Whom it binds"
          data={KINDS}
          allowDeselect={false}
          value={draft.kind}
          onChange={(kind) => kind && change({ kind, entity: kind === "tag" ? "" : "*" })}
        />
        {draft.kind !== "global" && (
          <TextInput
            label={`Which ${draft.kind}`}
            description={
              draft.kind === "tag" ? "name=value, or name=* for each value" : "* gives each its own account"
            }
            placeholder={draft.kind === "tag" ? "team=*" : "*"}
            value={draft.entity}
            onChange={(event) => change({ entity: event.currentTarget.value })}
            error={problemOf("scope")}
          />
        )}
      </SimpleGrid>
      <Switch
        label="Enabled"
        checked={draft.enabled}
        onChange={(event) => change({ enabled: event.currentTarget.checked })}
      />
    </Stack>
  );
}

/** How much, of what, in which time. */
export function LimitFields({ draft, change, problemOf }: FieldsProps) {
  const unit = unitOf(draft.metric);
  return (
    <Stack>
      <SimpleGrid cols={{ base: 1, sm: 2 }}>
        <Select
          label="What is limited"
          data={METRICS}
          allowDeselect={false}
          value={draft.metric}
          onChange={(metric) => metric && change({ metric })}
          error={problemOf("metric")}
        />
        <Autocomplete
          label="Time zone of the windows"
          description="Empty: that of the configuration"
          placeholder={ownZone()}
          data={[...new Set(["UTC", ownZone()])]}
          value={draft.timezone}
          onChange={(timezone) => change({ timezone })}
          error={problemOf("timezone")}
        />
      </SimpleGrid>
      <Stack gap={4}>
        <Text size="sm" fw={500}>
          Per
        </Text>
        <SegmentedControl
          aria-label="Interval"
          data={INTERVALS}
          value={draft.interval}
          onChange={(interval) => change({ interval })}
          size="xs"
        />
      </Stack>
      <SimpleGrid cols={{ base: 1, sm: 2 }}>
        <TextInput
          label={`Soft limit, in ${unit}`}
          description="Above it calls run, with a warning"
          inputMode="decimal"
          value={draft.soft_limit}
          onChange={(event) => change({ soft_limit: event.currentTarget.value })}
          error={problemOf("soft_limit")}
        />
        <TextInput
          label={`Hard limit, in ${unit}`}
          description="Never exceeded by a hold"
          inputMode="decimal"
          value={draft.hard_limit}
          onChange={(event) => change({ hard_limit: event.currentTarget.value })}
          error={problemOf("hard_limit")}
        />
      </SimpleGrid>
    </Stack>
  );
}

/** What happens at the hard limit. */
export function WhenOverFields({ draft, change, problemOf }: FieldsProps) {
  return (
    <SimpleGrid cols={{ base: 1, sm: 2 }}>
      <Select
        label="At the hard limit"
        data={ACTIONS}
        allowDeselect={false}
        value={draft.action}
        onChange={(action) => action && change({ action })}
        error={problemOf("action")}
      />
      <Select
        label="How strict"
        placeholder="As the configuration says"
        clearable
        data={MODES}
        value={draft.mode || null}
        onChange={(mode) => change({ mode: mode ?? "" })}
        error={problemOf("mode")}
      />
      <TextInput
        label="Cheaper model"
        description="A model, or low, standard, premium; empty: any cheaper one"
        value={draft.degrade_to}
        onChange={(event) => change({ degrade_to: event.currentTarget.value })}
        error={problemOf("degrade_to")}
      />
      <Select
        label="Calls without a known price"
        placeholder="As the configuration says"
        clearable
        data={UNKNOWN}
        value={draft.unknown_price || null}
        onChange={(unknown_price) => change({ unknown_price: unknown_price ?? "" })}
        error={problemOf("unknown_price")}
      />
    </SimpleGrid>
  );
}

/** What happens on the way to the limit. */
export function ThresholdFields({ draft, change, problemOf }: FieldsProps) {
  const set = (at: number, part: Partial<ThresholdDraft>) =>
    change({ thresholds: draft.thresholds.map((each, i) => (i === at ? { ...each, ...part } : each)) });
  return (
    <Stack gap="xs">
      <Group justify="space-between">
        <Text size="sm" fw={500}>
          On the way to the limit
        </Text>
        <Button
          size="compact-xs"
          variant="light"
          leftSection={<IconPlus size={12} />}
          onClick={() => change({ thresholds: [...draft.thresholds, NEW_THRESHOLD] })}
        >
          Add a threshold
        </Button>
      </Group>
      {draft.thresholds.map((each, at) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: the place is all that tells one from another
        <Group key={at} gap="xs" align="flex-end" wrap="nowrap">
          <TextInput
            size="xs"
            w={90}
            label="At (0.8)"
            value={each.at}
            onChange={(event) => set(at, { at: event.currentTarget.value })}
          />
          <Select
            size="xs"
            label="then"
            flex={1}
            data={THEN}
            allowDeselect={false}
            value={each.then}
            onChange={(then) => then && set(at, { then })}
          />
          {each.then !== "notify" && (
            <TextInput
              size="xs"
              w={130}
              label={each.then === "routing_mode" ? "mode" : "model"}
              value={each.to}
              onChange={(event) => set(at, { to: event.currentTarget.value })}
            />
          )}
          <ActionIcon
            variant="default"
            aria-label={`Remove the threshold at ${each.at}`}
            onClick={() => change({ thresholds: draft.thresholds.filter((_, i) => i !== at) })}
          >
            <IconTrash size={14} />
          </ActionIcon>
        </Group>
      ))}
      {problemOf("thresholds") && (
        <Text size="xs" c="var(--bad)">
          {problemOf("thresholds")}
        </Text>
      )}
    </Stack>
  );
}

/** What few budgets need. */
export function RareFields({ draft, change, problemOf }: FieldsProps) {
  const text = (name: "min_output_tokens" | "valid_from" | "valid_until", label: string, hint: string) => (
    <TextInput
      label={label}
      description={hint}
      value={draft[name]}
      onChange={(event) => change({ [name]: event.currentTarget.value })}
      error={problemOf(name)}
    />
  );
  return (
    <Accordion variant="separated">
      <Accordion.Item value="rare">
        <Accordion.Control>More</Accordion.Control>
        <Accordion.Panel>
          <SimpleGrid cols={{ base: 1, sm: 2 }}>
            {text(
              "min_output_tokens",
              "Smallest output",
              "Calls are not cut shorter than this; 256 if empty",
            )}
            <Select
              label="Mode above the soft limit"
              placeholder="Unchanged"
              clearable
              data={MODES}
              value={draft.routing_mode_override || null}
              onChange={(mode) => change({ routing_mode_override: mode ?? "" })}
              error={problemOf("routing_mode_override")}
            />
            {text("valid_from", "In force from", "2026-12-01T00:00:00Z")}
            {text("valid_until", "In force until", "2027-01-01T00:00:00Z")}
          </SimpleGrid>
        </Accordion.Panel>
      </Accordion.Item>
    </Accordion>
  );
}
