import { Alert, Card, Group, Loader, Stack, Table, Text, Title } from "@mantine/core";
import type { SimulationShown } from "@/client";
import { usd, whole } from "@/parts/amounts";
import { Money } from "@/parts/Money";
import { Failure } from "@/parts/states";
import { When } from "@/parts/When";
import { useSimulation } from "./check";

const ROWS = 5;

function counted(count: number, noun: string): string {
  return `${whole(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** What a simulation found, in a sentence. */
export function verdictOf(found: SimulationShown): string {
  const { totals } = found;
  const stopped = found.agents.filter((each) => each.stopped > 0).length;
  const parts: string[] = [];
  if (totals.stopped > 0) {
    const of = stopped > 0 && found.agents_left_out === 0 ? ` of ${counted(stopped, "agent")}` : "";
    parts.push(`stopped ${counted(totals.stopped, "call")}${of}`);
  }
  if (totals.let_in > 0) parts.push(`let in ${counted(totals.let_in, "refused call")}`);
  const saved = totals.saved_nano_usd;
  if (saved > 0) parts.push(`saved ${usd(saved)}`);
  if (saved < 0) parts.push(`cost ${usd(-saved)} more`);
  if (parts.length === 0) return "On the last 30 days this would have changed nothing.";
  const last = parts.pop();
  return `On the last 30 days this would have ${parts.length > 0 ? `${parts.join(", ")} and ` : ""}${last}.`;
}

function Details({ found }: { found: SimulationShown }) {
  const own = found.policies.find((each) => each.candidate);
  const rows = found.agents.filter((each) => each.stopped + each.let_in + each.simulated.clamped > 0);
  return (
    <Stack gap="sm">
      <Text fw={600} data-verdict={found.totals.stopped}>
        {verdictOf(found)}
      </Text>
      <Table fz="sm">
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Calls that</Table.Th>
            <Table.Th className="num">really</Table.Th>
            <Table.Th className="num">would have</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {(
            [
              ["ran", "ran"],
              ["were blocked", "blocked"],
              ["asked for approval", "asked"],
              ["were cut short", "clamped"],
              ["moved to a cheaper model", "degraded"],
            ] as const
          ).map(([title, name]) => (
            <Table.Tr key={name}>
              <Table.Td>{title}</Table.Td>
              <Table.Td className="num">{whole(found.totals.really[name])}</Table.Td>
              <Table.Td className="num">{whole(found.totals.simulated[name])}</Table.Td>
            </Table.Tr>
          ))}
          <Table.Tr>
            <Table.Td>cost</Table.Td>
            <Table.Td className="num">
              <Money nano={found.totals.really.cost_nano_usd} exact={found.totals.really.cost_usd} />
            </Table.Td>
            <Table.Td className="num">
              <Money nano={found.totals.simulated.cost_nano_usd} exact={found.totals.simulated.cost_usd} />
            </Table.Td>
          </Table.Tr>
        </Table.Tbody>
      </Table>
      {own?.first_hard && (
        <Text size="sm">
          The hard limit would first have been reached <When at={String(own.first_hard.at)} />
          {own.first_hard.entity === "*" ? "" : ` by ${String(own.first_hard.entity)}`}.
        </Text>
      )}
      {own && !own.binds && (
        <Alert color="yellow" title="Nothing is bound by it">
          No call of the last 30 days matches this scope. Is it what you meant?
        </Alert>
      )}
      {rows.length > 0 && (
        <Stack gap={2}>
          <Text size="xs" c="dimmed" fw={600}>
            Agents that would feel it
          </Text>
          {rows.slice(0, ROWS).map((each) => (
            <Group key={String(each.agent)} justify="space-between" gap="xs">
              <Text size="sm">{String(each.agent) || "no agent"}</Text>
              <Text size="sm" c="dimmed">
                {counted(each.stopped, "call")} stopped,{" "}
                <Money nano={each.saved_nano_usd} exact={each.saved_usd} />
              </Text>
            </Group>
          ))}
          {rows.length > ROWS && (
            <Text size="xs" c="dimmed">
              and {whole(rows.length - ROWS)} more
            </Text>
          )}
        </Stack>
      )}
      {found.notes.map((note) => (
        <Text key={note} size="xs" c="dimmed">
          {note}
        </Text>
      ))}
    </Stack>
  );
}

/** What a draft would have done: a replay of what was really called, by the decisions of a real call. */
export function Preview({ settled, ready }: { settled: string; ready: boolean }) {
  const query = useSimulation(settled, ready);
  return (
    <Card withBorder className="beside" component="section" aria-label="Preview">
      <Stack gap="sm">
        <Group justify="space-between">
          <Title order={2} size="h4">
            Preview
          </Title>
          {query.isFetching && <Loader size="xs" aria-label="Replaying the last 30 days" />}
        </Group>
        {!ready && !query.data && (
          <Text size="sm" c="dimmed">
            As soon as the budget is complete, the last 30 days are replayed with it: which calls it would
            have stopped, and what it would have saved.
          </Text>
        )}
        {query.error && !query.isFetching && (
          <Failure error={query.error} retry={() => void query.refetch()} />
        )}
        {query.data && <Details found={query.data} />}
      </Stack>
    </Card>
  );
}
