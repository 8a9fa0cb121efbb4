import { Badge, Card, Group, Stack, Text, Title } from "@mantine/core";
import type { CandidateShown, DecisionWhole, RoutingShown } from "@/client";
import { State } from "@/parts/Badges";
import { Fact, Facts } from "@/parts/Facts";
import { Money } from "@/parts/Money";
import { Name } from "@/parts/Name";
import { type Column, Table } from "@/parts/Table";

const LATENCY = ["low", "standard", "high"];

/** What is said of the models of a call, made or only thought of. */
type Choice = Pick<DecisionWhole, "model" | "provider" | "requested_model" | "recommended_model" | "routing">;

interface Row extends CandidateShown {
  marks: string[];
}

function rowsOf(decision: Choice, routing: RoutingShown): Row[] {
  return routing.candidates.map((each, at) => {
    const actual = each.model === decision.model && each.provider === decision.provider;
    // Two providers may have models of one id: what is said of it is said of the one that serves the call.
    const elsewhere = each.model === decision.model && !actual;
    const marks = [
      at === 0 && (decision.requested_model === "auto" ? "default" : "requested"),
      each.model === routing.session_model && !elsewhere && "session",
      each.model === decision.recommended_model && !elsewhere && "recommended",
      actual && "actual",
    ];
    return { ...each, marks: marks.filter((mark) => mark !== false) };
  });
}

const COLUMNS: Column<Row>[] = [
  {
    title: "Model",
    cell: (row) => (
      <Stack gap={0}>
        <Name value={row.model} fw={600} />
        <Name value={row.provider} size="xs" c="dimmed" />
      </Stack>
    ),
  },
  {
    title: "Is",
    cell: (row) => (
      <Group gap={4}>
        {row.marks.map((mark) => (
          <Badge key={mark} size="sm" variant="outline" tt="none" radius="sm" color="gray">
            {mark}
          </Badge>
        ))}
      </Group>
    ),
  },
  {
    title: "Cost at most",
    right: true,
    cell: (row) => <Money nano={row.cost_bound_nano_usd} exact={row.cost_bound_usd} />,
  },
  { title: "Tier", cell: (row) => row.cost_tier },
  { title: "Latency", cell: (row) => LATENCY[row.latency_rank] ?? row.latency_rank },
  { title: "Health", cell: (row) => <State word={row.health} /> },
  { title: "Room", cell: (row) => row.room },
  { title: "Why not", cell: (row) => row.lost ?? "–" },
];

/** Every model that was looked at, why the others lost, and how complex the call was thought to be. */
export function Candidates({ decision }: { decision: Choice }) {
  const { routing } = decision;
  if (routing === null) return null;
  const { features } = routing;
  const budgets = [...routing.degraded_by, ...routing.would_degrade];
  return (
    <Card withBorder padding="md" component="section" aria-label="Candidates">
      <Stack gap="md">
        <Stack gap={2}>
          <Title order={2} size="h4">
            Candidates
          </Title>
          <Text size="sm" c="dimmed">
            {routing.open ? "The choice was left to Palyra" : "The choice was the caller's"}. Chosen by{" "}
            {routing.by.replaceAll("_", " ")}: <bdi>{routing.reason}</bdi>
          </Text>
        </Stack>
        <Table
          label="Candidates"
          columns={COLUMNS}
          rows={rowsOf(decision, routing)}
          rowKey={(row) => `${row.provider}/${row.model}`}
        />
        <Facts>
          <Fact name="Complexity">
            {routing.score.toFixed(3)} of 1, version {routing.score_version}
          </Fact>
          <Fact name="Text">
            {features.text_bytes} bytes, about {features.tokens} tokens
          </Fact>
          <Fact name="Messages, tools, pictures">
            {features.turns}, {features.tools}, {features.images}
          </Fact>
          <Fact name="Strict JSON">{features.wants_json ? "yes" : "no"}</Fact>
          {budgets.length > 0 && (
            <Fact name={routing.degraded_by.length > 0 ? "Made cheaper by" : "Would be made cheaper by"}>
              {budgets.join(", ")}
            </Fact>
          )}
        </Facts>
      </Stack>
    </Card>
  );
}
