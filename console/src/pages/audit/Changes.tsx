import { Badge, Card, Group, Stack, Text } from "@mantine/core";
import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import type { AuditItem } from "@/client";
import { listChangesInfiniteOptions } from "@/client/@tanstack/react-query.gen";
import { Diff, setText } from "@/parts/Diff";
import { TextLink } from "@/parts/links";
import { More } from "@/parts/More";
import { Name } from "@/parts/Name";
import { itemsOf, PAGED } from "@/parts/pages";
import { Empty, Failure, Loading } from "@/parts/states";
import { When } from "@/parts/When";
import type { AuditSearch } from "./search";

const PAGE = 50;

function Ref({ item }: { item: AuditItem }) {
  if (item.kind.startsWith("policy.")) {
    return (
      <TextLink to="/budgets/$id" params={{ id: item.ref }} search={{ view: "history" }} size="sm" fw={600}>
        {item.ref}
      </TextLink>
    );
  }
  if (item.kind.startsWith("approval.")) {
    return (
      <TextLink to="/approvals" search={{ id: item.ref }} size="sm" fw={600}>
        {item.ref}
      </TextLink>
    );
  }
  return <Name value={item.ref} fw={600} size="sm" />;
}

/** One change: what, by whom, when, and from what to what. */
function Change({ item }: { item: AuditItem }) {
  const changed = item.before !== null && item.after !== null;
  return (
    <Card withBorder padding="sm" data-change={item.kind} data-ref={item.ref}>
      <Stack gap={6}>
        <Group gap="xs">
          <Badge variant="light" color="gray" tt="none">
            {item.kind}
          </Badge>
          <Ref item={item} />
          <Text size="sm" c="dimmed" component="div">
            <When at={item.at} /> by <bdi>{item.by_principal ?? item.by}</bdi>
          </Text>
        </Group>
        {changed ? (
          <Diff changes={item.changes} />
        ) : (
          <Text size="sm" c="dimmed">
            <bdi>{setText(item.changes)}</bdi>
          </Text>
        )}
        {item.note && (
          <Text size="sm">
            <bdi>{item.note}</bdi>
          </Text>
        )}
      </Stack>
    </Card>
  );
}

/** Changes of rules, newest first. */
export function Changes({ search }: { search: AuditSearch }) {
  const query = useInfiniteQuery({
    ...listChangesInfiniteOptions({ query: { ...search, ...sinceOf(search.since), limit: PAGE } }),
    ...PAGED,
    placeholderData: keepPreviousData,
  });
  if (query.error && !query.data) return <Failure error={query.error} retry={() => void query.refetch()} />;
  if (!query.data) return <Loading height={240} />;
  const items = itemsOf(query.data);
  if (items.length === 0) {
    return <Empty title="No such change">Look for less, or over a longer time.</Empty>;
  }
  return (
    <Stack gap="xs">
      {items.map((item) => (
        <Change key={`${item.node} ${item.record}`} item={item} />
      ))}
      <More query={query} />
    </Stack>
  );
}

const HOUR_MS = 3_600_000;

/** A span as a time; by the hour, so that the same page is asked for while it is open. */
function sinceOf(span: string | undefined): { since?: string } {
  const found = /^(\d+)([hd])$/.exec(span ?? "");
  if (found === null) return {};
  const hours = Number(found[1]) * (found[2] === "d" ? 24 : 1);
  const hour = Math.floor(Date.now() / HOUR_MS) - hours;
  return { since: new Date(hour * HOUR_MS).toISOString() };
}
