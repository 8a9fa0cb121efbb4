import { Badge, Card, Group, Stack, Text, Timeline } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import type { PolicyVersion } from "@/client";
import { budgetHistoryInfiniteOptions } from "@/client/@tanstack/react-query.gen";
import { Diff, ownChanges, setText } from "@/parts/Diff";
import { More } from "@/parts/More";
import { itemsOf, PAGED } from "@/parts/pages";
import { Empty, Failure, Loading } from "@/parts/states";
import { When } from "@/parts/When";

const PAGE = 50;
const COLORS: Record<string, string> = { created: "green", changed: "blue", deleted: "red" };
function Version({ version }: { version: PolicyVersion }) {
  const shown = ownChanges(version.changes);
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
      {version.action === "changed" && <Diff changes={version.changes} />}
      {version.action === "changed" && shown.length === 0 && (
        <Text size="sm" c="dimmed">
          Written again without a change
        </Text>
      )}
      {version.action !== "changed" && shown.length > 0 && (
        <Text size="sm" c="dimmed">
          {setText(version.changes)}
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
