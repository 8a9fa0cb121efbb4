import { Badge, Card, Group, Stack, Text, Timeline } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import type { FieldChanged, PolicyVersion } from "@/client";
import { budgetHistoryInfiniteOptions } from "@/client/@tanstack/react-query.gen";
import { More } from "@/parts/More";
import { itemsOf, PAGED } from "@/parts/pages";
import { Empty, Failure, Loading } from "@/parts/states";
import { When } from "@/parts/When";

const PAGE = 50;
const COLORS: Record<string, string> = { created: "green", changed: "blue", deleted: "red" };
const DERIVED = /_(nano_)?usd$/;

function told(value: unknown): string {
  if (value === null || value === undefined) return "not set";
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** One changed field, before and after. Amounts are said once, as they were written. */
function Change({ change }: { change: FieldChanged }) {
  return (
    <div className="diff" data-field={change.field}>
      <Text span size="sm" fw={600}>
        {change.field}
      </Text>
      <del>{told(change.before)}</del>
      <span className="visually-hidden"> became </span>
      <ins>{told(change.after)}</ins>
    </div>
  );
}

function Version({ version }: { version: PolicyVersion }) {
  const names = new Set(version.changes.map((each) => each.field));
  const shown = version.changes.filter(
    (each) => !(DERIVED.test(each.field) && names.has(each.field.replace(DERIVED, ""))),
  );
  return (
    <Stack gap="xs" data-version={version.version}>
      <Group gap="xs">
        <Badge variant="light" color={COLORS[version.action] ?? "gray"} tt="none">
          {version.action}
        </Badge>
        <Text size="sm" fw={600}>
          Version {version.version}
        </Text>
        <Text size="sm" c="dimmed" component="div">
          <When at={version.at} /> by {version.by_principal ?? version.by}
        </Text>
      </Group>
      {version.action === "changed" && shown.map((each) => <Change key={each.field} change={each} />)}
      {version.action === "changed" && shown.length === 0 && (
        <Text size="sm" c="dimmed">
          Written again without a change
        </Text>
      )}
      {version.action !== "changed" && shown.length > 0 && (
        <Text size="sm" c="dimmed">
          {shown
            .map((each) => `${each.field}: ${told(version.action === "deleted" ? each.before : each.after)}`)
            .join(", ")}
        </Text>
      )}
    </Stack>
  );
}

/** The versions of a budget, newest first: who changed what, from what to what. */
export function History({ id }: { id: string }) {
  const query = useInfiniteQuery({
    ...budgetHistoryInfiniteOptions({ path: { policy_id: id }, query: { limit: PAGE } }),
    ...PAGED,
    initialPageParam: { path: { policy_id: id } },
  });
  if (query.isPending) return <Loading />;
  if (query.error && !query.data) return <Failure error={query.error} retry={() => void query.refetch()} />;
  const versions = query.data ? itemsOf(query.data) : [];
  if (versions.length === 0) return <Empty title="Nothing is recorded of this budget" />;
  return (
    <Card withBorder>
      <Timeline bulletSize={14} lineWidth={2}>
        {versions.map((each) => (
          <Timeline.Item key={`${each.version} ${each.at}`}>
            <Version version={each} />
          </Timeline.Item>
        ))}
      </Timeline>
      <More query={query} />
    </Card>
  );
}
