import { Card, Stack, Title } from "@mantine/core";
import type { AttemptShown, DecisionShown, DecisionWhole } from "@/client";
import { State } from "@/parts/Badges";
import { TextLink } from "@/parts/links";
import { Money } from "@/parts/Money";
import { Name } from "@/parts/Name";
import { type Column, Table } from "@/parts/Table";

const ATTEMPTS: Column<AttemptShown>[] = [
  { title: "Provider", cell: (row) => <Name value={row.provider} /> },
  { title: "Model", cell: (row) => <Name value={row.model} /> },
  { title: "Began", right: true, cell: (row) => `${row.began_ms} ms` },
  { title: "Ended", right: true, cell: (row) => `${row.ended_ms} ms` },
  { title: "Status", right: true, cell: (row) => row.status ?? "–" },
  { title: "Outcome", cell: (row) => <State word={row.outcome} /> },
  { title: "Then", cell: (row) => row.then || "–" },
  { title: "Message", cell: (row) => <Name value={row.message} none="–" lines={3} /> },
];

const PARTS: Column<DecisionWhole>[] = [
  {
    title: "Request",
    cell: (row) => (
      <TextLink size="sm" to="/decisions/$id" params={{ id: row.request_id }}>
        {row.request_id}
      </TextLink>
    ),
  },
  { title: "Model", cell: (row) => <Name value={row.model} none="–" /> },
  { title: "Provider", cell: (row) => <Name value={row.provider} none="–" /> },
  { title: "State", cell: (row) => <State word={row.state} /> },
  {
    title: "Cost",
    right: true,
    cell: (row) => <Money nano={row.settlement?.cost_nano_usd} exact={row.settlement?.cost_usd} />,
  },
  {
    title: "Why",
    cell: (row) => <Name value={row.route_reason || row.message} none="as requested" lines={3} />,
  },
];

/** Every try at a provider, and the calls that took this one up elsewhere. */
export function Tries({ decision }: { decision: DecisionShown }) {
  const attempts = decision.settlement?.attempts ?? [];
  const chained = decision.continued_as.length > 0;
  if (attempts.length === 0 && !chained && decision.continues === null) return null;
  return (
    <Card withBorder padding="md" component="section" aria-label="Tries">
      <Stack gap="md">
        <Title order={2} size="h4">
          {chained ? "Taken up elsewhere" : "Tries"}
        </Title>
        {decision.continues !== null && (
          <TextLink size="sm" to="/decisions/$id" params={{ id: decision.continues }}>
            This call takes up {decision.continues}
          </TextLink>
        )}
        {chained && (
          <Table
            label="Taken up elsewhere"
            columns={PARTS}
            rows={[decision, ...decision.continued_as]}
            rowKey={(row) => row.request_id}
          />
        )}
        {attempts.length > 0 && (
          <Table
            label="Tries"
            columns={ATTEMPTS}
            rows={attempts}
            rowKey={(row) => `${row.began_ms} ${row.provider} ${row.model}`}
          />
        )}
      </Stack>
    </Card>
  );
}
