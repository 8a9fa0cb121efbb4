import { Card, Stack, Text, Title } from "@mantine/core";
import type { ProviderInsight } from "@/client";
import { duration, percent, whole } from "@/parts/amounts";
import { State } from "@/parts/Badges";
import { Name } from "@/parts/Name";
import { type Column, Table } from "@/parts/Table";
import { When } from "@/parts/When";

const STATES: Record<ProviderInsight["state"], { words: string; color: string }> = {
  ok: { words: "ok", color: "green" },
  open: { words: "takes no calls", color: "red" },
  half_open: { words: "is tried again", color: "yellow" },
  cooling: { words: "is cooling", color: "yellow" },
  disabled: { words: "disabled", color: "gray" },
  unknown: { words: "not known yet", color: "gray" },
};

const COLUMNS: Column<ProviderInsight>[] = [
  { title: "Provider", cell: (row) => <Name value={row.provider} fw={600} /> },
  {
    title: "Now",
    cell: (row) => (
      <State word={row.state} color={STATES[row.state].color}>
        {STATES[row.state].words}
      </State>
    ),
  },
  { title: "First byte", right: true, cell: (row) => duration(row.first_byte_ms) },
  { title: "Calls", right: true, cell: (row) => whole(row.requests) },
  { title: "Failed", right: true, cell: (row) => (row.failed ? whole(row.failed) : "–") },
  { title: "Of all", right: true, cell: (row) => percent(row.error_percent) },
  {
    title: "Last failure",
    cell: (row) =>
      row.last_fault ? (
        <Stack gap={0}>
          <Name value={row.last_fault.message || row.last_fault.reason} />
          <When at={row.last_fault.at} size="xs" c="dimmed" />
        </Stack>
      ) : (
        "–"
      ),
  },
];

/** How each provider does now, and how many of its calls failed in the period. */
export function Health({ providers }: { providers: ProviderInsight[] }) {
  if (providers.length === 0) return null;
  return (
    <Card withBorder padding="md" component="section" aria-label="Providers">
      <Stack gap="sm">
        <Stack gap={0}>
          <Title order={2} size="h4">
            Providers
          </Title>
          <Text size="xs" c="dimmed">
            The state is that of now; calls and failures are those of the period.
          </Text>
        </Stack>
        <Table label="Providers" columns={COLUMNS} rows={providers} rowKey={(row) => row.provider} />
      </Stack>
    </Card>
  );
}
