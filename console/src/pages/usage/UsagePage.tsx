import { Alert, Card, Stack, Tabs, Text } from "@mantine/core";
import { IconAlertTriangle, IconDownload } from "@tabler/icons-react";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { getRouteApi, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import type { UsageSummary } from "@/client";
import { usageSummaryOptions } from "@/client/@tanstack/react-query.gen";
import { whole } from "@/parts/amounts";
import { FilterBar } from "@/parts/FilterBar";
import { ButtonLink, TextLink } from "@/parts/links";
import { Page } from "@/parts/Page";
import { asQuery, filtersOf, NAMES } from "@/parts/period";
import { Loaded } from "@/parts/states";
import { useMay } from "@/session/session";
import { Breakdown, GROUPS, type GroupView } from "./Breakdown";
import { BucketPanel } from "./BucketPanel";
import { Figures } from "./Figures";
import { FirstCall } from "./FirstCall";
import { useKnownNames } from "./known";
import { Sessions } from "./Sessions";
import { type UsageSearch, usageSearch, type View } from "./search";
import { Tags } from "./Tags";
import { Timeline } from "./Timeline";

const route = getRouteApi("/usage");
const TITLES: Record<View, string> = {
  principals: "Principals",
  agents: "Agents",
  models: "Models",
  providers: "Providers",
  sessions: "Sessions",
  tags: "Tags",
};

function isGroup(view: View): view is GroupView {
  return view in GROUPS;
}

function Unpriced({ summary }: { summary: UsageSummary }) {
  const { unpriced, requests } = summary.totals;
  if (unpriced === 0) return null;
  return (
    <Alert color="orange" icon={<IconAlertTriangle size={18} />} data-unpriced={unpriced}>
      <Text size="sm">
        <b>
          {whole(unpriced)} of {whole(requests)} calls have no known price
        </b>{" "}
        and are in no cost on this page. Give their models a price under{" "}
        <TextLink to="/models" size="sm" underline="always">
          Models
        </TextLink>
        , or refuse such calls with unknown_price = "deny".
      </Text>
    </Alert>
  );
}

type Change = (part: Partial<UsageSearch>) => void;

function Tables({ search, change }: { search: UsageSearch; change: Change }) {
  const viewer = useMay("viewer");
  const navigate = useNavigate();
  const filters = filtersOf({ ...search });
  const view = search.view ?? "principals";
  // Tags are those of everybody, and so are not for a caller.
  const views = (Object.keys(TITLES) as View[]).filter((each) => each !== "tags" || viewer);
  const { since, until } = asQuery(filters);
  return (
    <Card withBorder padding="md">
      <Tabs value={view} onChange={(to) => change({ view: to as View })} keepMounted={false}>
        <Tabs.List mb="md">
          {views.map((each) => (
            <Tabs.Tab key={each} value={each}>
              {TITLES[each]}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        <Tabs.Panel value={view}>
          {isGroup(view) && (
            <Breakdown
              view={view}
              filters={filters}
              sort={search.sort ?? "cost"}
              changeSort={(sort) => change({ sort })}
              choose={change}
            />
          )}
          {view === "sessions" && <Sessions filters={filters} />}
          {view === "tags" && (
            <Tags
              filters={filters}
              open={({ tag, value }) =>
                void navigate({
                  to: "/decisions",
                  search: { since, ...(until ? { until } : {}), tag: `${tag}:${value}` },
                })
              }
            />
          )}
        </Tabs.Panel>
      </Tabs>
    </Card>
  );
}

/** Spend, tokens, calls and latency: figures, their course, and who or what they are of. */
export function UsagePage() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const filters = filtersOf({ ...search });
  const [adding, setAdding] = useState(false);
  const known = useKnownNames(filters, adding);
  const query = useQuery({
    ...usageSummaryOptions({ query: asQuery(filters) }),
    placeholderData: keepPreviousData,
  });
  const change: Change = (part) =>
    void navigate({ search: (before) => usageSearch({ ...before, ...part }), resetScroll: false });
  return (
    <Page
      title="Usage"
      about="What was spent, by whom, on what"
      actions={
        <ButtonLink
          variant="default"
          size="xs"
          leftSection={<IconDownload size={14} />}
          to="/export"
          search={filters}
        >
          Export
        </ButtonLink>
      }
    >
      <FilterBar
        filters={filters}
        change={(next) => {
          const { from: _, to: __, pick: ___, ...view } = search;
          const kept = Object.entries(view).filter(([key]) => !(key in filters));
          void navigate({ search: { ...Object.fromEntries(kept), ...next }, resetScroll: false });
        }}
        known={known}
        adding={setAdding}
      />
      <Loaded query={query} height={220}>
        {(summary) => {
          const { totals, previous, running } = summary;
          const silent = totals.requests + totals.denied + previous.totals.requests + running === 0;
          if (silent && NAMES.every((name) => filters[name] === undefined)) return <FirstCall />;
          return (
            <Stack gap="md">
              <Unpriced summary={summary} />
              <Figures summary={summary} filters={filters} />
              <Timeline search={search} change={change} />
              <BucketPanel
                search={search}
                close={() => change({ from: undefined, to: undefined, pick: undefined })}
              />
              <Tables search={search} change={change} />
            </Stack>
          );
        }}
      </Loaded>
    </Page>
  );
}
