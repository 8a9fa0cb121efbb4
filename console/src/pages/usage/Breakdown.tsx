import { Group, NativeSelect, Stack, Text } from "@mantine/core";
import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import type { UsageItem, UsageList } from "@/client";
import {
  usageAgentsInfiniteOptions,
  usageModelsInfiniteOptions,
  usagePrincipalsInfiniteOptions,
  usageProvidersInfiniteOptions,
} from "@/client/@tanstack/react-query.gen";
import { compact, whole } from "@/parts/amounts";
import { Money } from "@/parts/Money";
import { More } from "@/parts/More";
import { Name as NameText } from "@/parts/Name";
import { itemsOf, PAGED } from "@/parts/pages";
import { asQuery, type Filters, type Name } from "@/parts/period";
import { Share } from "@/parts/Share";
import { Spark } from "@/parts/Spark";
import { Empty, Loaded } from "@/parts/states";
import { type Column, Table } from "@/parts/Table";
import { When } from "@/parts/When";
import { Spend } from "./Spend";
import { SORTS, type Sort } from "./search";

/** Views of groups with shares: what each row is called, and which filter it sets. */
export const GROUPS = {
  principals: { name: "principal", title: "Principal" },
  agents: { name: "agent", title: "Agent" },
  models: { name: "model", title: "Model" },
  providers: { name: "provider", title: "Provider" },
} as const satisfies Record<string, { name: Name; title: string }>;
export type GroupView = keyof typeof GROUPS;

const SORT_WORDS: Record<Sort, string> = {
  cost: "Spend",
  tokens: "Tokens",
  calls: "Calls",
  denied: "Denied",
  name: "Name",
};
const PAGE = 25;

function useGroups(view: GroupView, filters: Filters, sort: Sort) {
  const options = { query: { ...asQuery(filters), sort, limit: PAGE } };
  // One function for each view would be the same four times; their answers have one shape.
  const asked = {
    principals: () => usagePrincipalsInfiniteOptions(options),
    agents: () => usageAgentsInfiniteOptions(options),
    models: () => usageModelsInfiniteOptions(options),
    providers: () => usageProvidersInfiniteOptions(options),
  }[view]() as ReturnType<typeof usagePrincipalsInfiniteOptions>;
  return useInfiniteQuery({ ...asked, ...PAGED, placeholderData: keepPreviousData });
}

function columnsOf(view: GroupView, list: UsageList): Column<UsageItem>[] {
  const { name, title } = GROUPS[view];
  const { metric, hours } = list.sparkline;
  return [
    {
      title,
      cell: (row) => (
        <Stack gap={0} maw={280}>
          <NameText value={row[name]} fw={600} />
          {view === "models" && <NameText value={row.provider} size="xs" c="dimmed" />}
        </Stack>
      ),
    },
    { title: "Spend", right: true, cell: (row) => <Spend sums={row} /> },
    {
      title: "Share",
      width: 170,
      cell: (row) => (
        <Share value={row.share_percent} label={`Share of the spend of ${row[name] || "none"}`} />
      ),
    },
    {
      title: "Course",
      cell: (row) => (
        <Spark points={row.sparkline} label={`${metric} of ${row[name] || "none"} by ${hours} hours`} />
      ),
    },
    { title: "Calls", right: true, cell: (row) => whole(row.requests) },
    { title: "Denied", right: true, cell: (row) => (row.denied ? whole(row.denied) : "–") },
    {
      title: "Tokens in / out",
      right: true,
      cell: (row) => `${compact(row.input_tokens)} / ${compact(row.output_tokens)}`,
    },
    {
      title: "Per call",
      right: true,
      cell: (row) => <Money nano={row.average_cost_nano_usd} exact={row.average_cost_usd} />,
    },
    { title: "Last seen", right: true, cell: (row) => <When at={row.last_hour} /> },
  ];
}

/** Who or what used how much, page by page; a row sets the filter to it. */
export function Breakdown({
  view,
  filters,
  sort,
  changeSort,
  choose,
}: {
  view: GroupView;
  filters: Filters;
  sort: Sort;
  changeSort: (sort: Sort) => void;
  choose: (filter: Partial<Filters>) => void;
}) {
  const query = useGroups(view, filters, sort);
  const { name } = GROUPS[view];
  return (
    <Stack gap="sm">
      <Group justify="space-between" gap="xs">
        <Text size="xs" c="dimmed">
          A row narrows the page to it. Shares are of the spend in this period.
        </Text>
        <NativeSelect
          size="xs"
          aria-label="Order"
          value={sort}
          data={SORTS.map((value) => ({ value, label: `Order: ${SORT_WORDS[value]}` }))}
          onChange={(event) => changeSort(event.currentTarget.value as Sort)}
        />
      </Group>
      <Loaded query={query} height={240}>
        {(data) => {
          const rows = itemsOf(data);
          const list = data.pages[0];
          if (rows.length === 0 || list === undefined) {
            return <Empty title="Nothing was used">Choose a longer period, or remove a filter.</Empty>;
          }
          return (
            <>
              <Table
                label={`Usage by ${name}`}
                columns={columnsOf(view, list)}
                rows={rows}
                rowKey={(row) => [row[name], view === "models" ? row.provider : ""].join(" ")}
                open={(row) =>
                  choose({
                    [name]: row[name] ?? "",
                    ...(view === "models" ? { provider: row.provider ?? "" } : {}),
                  })
                }
              />
              <More query={query} />
            </>
          );
        }}
      </Loaded>
    </Stack>
  );
}
