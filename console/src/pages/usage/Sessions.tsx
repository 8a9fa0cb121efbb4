import { Group, SegmentedControl, Stack, Text } from "@mantine/core";
import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { type ReactNode, useState } from "react";
import type { UsageSessionItem } from "@/client";
import { listSessionsInfiniteOptions } from "@/client/@tanstack/react-query.gen";
import { compact, whole } from "@/parts/amounts";
import { More } from "@/parts/More";
import { Name } from "@/parts/Name";
import { itemsOf, PAGED } from "@/parts/pages";
import { asQuery, type Filters } from "@/parts/period";
import { Empty, Loaded } from "@/parts/states";
import { type Column, Table } from "@/parts/Table";
import { When } from "@/parts/When";
import { SessionCost } from "./SessionCost";

const PAGE = 25;
const COLUMNS: Column<UsageSessionItem>[] = [
  { title: "Session", cell: (row) => <Name value={row.session} fw={600} /> },
  { title: "Principal", cell: (row) => <Name value={row.principal} /> },
  { title: "Agent", cell: (row) => <Name value={row.agent} /> },
  { title: "Last model", cell: (row) => <Name value={row.model} /> },
  {
    title: "Spend",
    right: true,
    cell: (row) => <SessionCost session={row} fw={600} />,
  },
  { title: "Calls", right: true, cell: (row) => whole(row.requests) },
  { title: "Denied", right: true, cell: (row) => (row.denied ? whole(row.denied) : "–") },
  {
    title: "Tokens in / out",
    right: true,
    cell: (row) => `${compact(row.input_tokens)} / ${compact(row.output_tokens)}`,
  },
  { title: "Last call", right: true, cell: (row) => <When at={row.last_at} /> },
];

/** The sessions with calls in a period, page by page; each leads to its own page. */
export function Sessions({
  filters,
  title,
  close,
}: {
  filters: Filters;
  title?: ReactNode;
  close?: ReactNode;
}) {
  const navigate = useNavigate();
  const [sort, setSort] = useState("newest");
  const query = useInfiniteQuery({
    ...listSessionsInfiniteOptions({ query: { ...asQuery(filters), sort, limit: PAGE } }),
    ...PAGED,
    placeholderData: keepPreviousData,
  });
  return (
    <Stack gap="sm">
      <Group justify="space-between" gap="xs">
        {title ?? (
          <Text size="xs" c="dimmed">
            The figures of a session are those of all its calls, also before this period.
          </Text>
        )}
        <Group gap="xs">
          <SegmentedControl
            size="xs"
            aria-label="Order of sessions"
            value={sort}
            onChange={setSort}
            data={[
              { value: "newest", label: "Newest" },
              { value: "dearest", label: "Dearest" },
            ]}
          />
          {close}
        </Group>
      </Group>
      <Loaded query={query}>
        {(data) => {
          const rows = itemsOf(data);
          if (rows.length === 0) {
            return (
              <Empty title="No sessions here">
                Calls belong to a session when they have the header x-palyra-session.
              </Empty>
            );
          }
          return (
            <>
              <Table
                label="Sessions"
                columns={COLUMNS}
                rows={rows}
                rowKey={(row) => `${row.principal} ${row.session}`}
                open={(row) =>
                  void navigate({
                    to: "/usage/sessions/$session",
                    params: { session: row.session },
                    search: { principal: row.principal },
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
