import { Badge, Group, Stack, Text } from "@mantine/core";
import { useNavigate } from "@tanstack/react-router";
import type { DecisionRow } from "@/client";
import { compact, duration } from "@/parts/amounts";
import { State } from "@/parts/Badges";
import { Money } from "@/parts/Money";
import { Name } from "@/parts/Name";
import { type Column, Table } from "@/parts/Table";
import { When } from "@/parts/When";

const WHO: Column<DecisionRow>[] = [
  {
    title: "Who",
    cell: (row) => (
      <Stack gap={0}>
        <Name value={row.principal} fw={600} />
        <Name value={row.agent} size="xs" c="dimmed" none="no agent" />
      </Stack>
    ),
  },
  { title: "Session", cell: (row) => <Name value={row.session} /> },
];

const REST: Column<DecisionRow>[] = [
  {
    title: "Model",
    cell: (row) => (
      <Stack gap={0}>
        <Name value={row.model || row.requested_model} />
        {row.model !== row.requested_model && row.model !== "" && (
          <Text size="xs" c="dimmed" component="div">
            asked for <Name value={row.requested_model} lines={0} />
          </Text>
        )}
      </Stack>
    ),
  },
  {
    title: "Outcome",
    cell: (row) => (
      <Group gap={4}>
        <State word={row.state === "pending" ? "running" : row.state} />
        {row.outcome === "ask" && <State word="ask" />}
        {row.clamped && (
          <Badge variant="light" color="yellow" radius="sm" tt="none" miw="max-content">
            clamped
          </Badge>
        )}
        {row.would.map((word) => (
          <State key={word} word={word} variant="outline" />
        ))}
      </Group>
    ),
  },
  {
    title: "Tokens in / out",
    right: true,
    cell: (row) => `${compact(row.input_tokens)} / ${compact(row.output_tokens)}`,
  },
  {
    title: "Cost",
    right: true,
    cell: (row) => <Money nano={row.cost_nano_usd} exact={row.cost_usd} fw={600} />,
  },
  { title: "Took", right: true, cell: (row) => duration(row.total_ms) },
];

/** Calls; each row leads to its explanation. `within` a session, who and which one is not said again. */
export function CallsTable({ rows, within = false }: { rows: readonly DecisionRow[]; within?: boolean }) {
  const navigate = useNavigate();
  const at: Column<DecisionRow> = { title: "At", cell: (row) => <When at={row.at} /> };
  return (
    <Table
      label="Calls"
      columns={within ? [at, ...REST] : [at, ...WHO, ...REST]}
      rows={rows}
      rowKey={(row) => row.request_id}
      open={(row) => void navigate({ to: "/decisions/$id", params: { id: row.request_id } })}
    />
  );
}
