import { NativeSelect, Stack, Text } from "@mantine/core";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { UsageTag } from "@/client";
import { usageTagsOptions } from "@/client/@tanstack/react-query.gen";
import { compact, whole } from "@/parts/amounts";
import { Money } from "@/parts/Money";
import { Name } from "@/parts/Name";
import { asQuery, type Filters, NAMES } from "@/parts/period";
import { Share } from "@/parts/Share";
import { Empty, Loaded } from "@/parts/states";
import { type Column, Table } from "@/parts/Table";

const COLUMNS: Column<UsageTag>[] = [
  { title: "Tag", cell: (row) => <Name value={row.tag} /> },
  { title: "Value", cell: (row) => <Name value={row.value} fw={600} /> },
  {
    title: "Spend",
    right: true,
    cell: (row) => <Money nano={row.cost_nano_usd} exact={row.cost_usd} fw={600} />,
  },
  {
    title: "Share of the tag",
    width: 170,
    cell: (row) => <Share value={row.share_percent} label={`Share of ${row.value} of the tag ${row.tag}`} />,
  },
  { title: "Calls", right: true, cell: (row) => whole(row.requests) },
  {
    title: "Tokens in / out",
    right: true,
    cell: (row) => `${compact(row.input_tokens)} / ${compact(row.output_tokens)}`,
  },
];
const ALL = "";

/** Usage by the values of tags; a row leads to the calls that have it. */
export function Tags({ filters, open }: { filters: Filters; open: (tag: UsageTag) => void }) {
  const [tag, setTag] = useState(ALL);
  const { since, until } = asQuery(filters);
  const query = useQuery({
    ...usageTagsOptions({ query: { since, ...(until === undefined ? {} : { until }) } }),
    placeholderData: keepPreviousData,
  });
  const filtered = NAMES.some((name) => filters[name] !== undefined);
  return (
    <Loaded query={query}>
      {({ items }) => {
        const tags = [...new Set(items.map((each) => each.tag))];
        const shown = items.filter((each) => tag === ALL || each.tag === tag);
        if (items.length === 0) {
          return (
            <Empty title="No tags in this period">
              Calls have the tags of their key, and those in the header x-palyra-tags.
            </Empty>
          );
        }
        return (
          <Stack gap="sm">
            {filtered && (
              <Text size="sm" c="dimmed">
                Tags are not kept by name: these are those of all calls in the period.
              </Text>
            )}
            {tags.length > 1 && (
              <NativeSelect
                size="xs"
                w={220}
                aria-label="Tag"
                value={tag}
                data={[{ value: ALL, label: "All tags" }, ...tags.map((value) => ({ value, label: value }))]}
                onChange={(event) => setTag(event.currentTarget.value)}
              />
            )}
            <Table
              label="Usage by tag"
              columns={COLUMNS}
              rows={shown}
              rowKey={(row) => `${row.tag}=${row.value}`}
              open={open}
            />
          </Stack>
        );
      }}
    </Loaded>
  );
}
