import { Card, Stack, Text } from "@mantine/core";
import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useState } from "react";
import { listDecisionsInfiniteOptions } from "@/client/@tanstack/react-query.gen";
import { useKnownNames } from "@/pages/usage/known";
import { FilterBar } from "@/parts/FilterBar";
import { More } from "@/parts/More";
import { Page } from "@/parts/Page";
import { itemsOf, PAGED } from "@/parts/pages";
import { filtersOf, textsOf } from "@/parts/period";
import { Empty, Loaded } from "@/parts/states";
import { When } from "@/parts/When";
import { CallsTable } from "./CallsTable";
import { SearchForm } from "./SearchForm";
import { type DecisionsSearch, decisionsQuery, WANTED } from "./search";

const route = getRouteApi("/decisions");

function useCalls(search: DecisionsSearch) {
  return useInfiniteQuery({
    ...listDecisionsInfiniteOptions({ query: decisionsQuery(search) }),
    ...PAGED,
    placeholderData: keepPreviousData,
  });
}

function Found({ query }: { query: ReturnType<typeof useCalls> }) {
  return (
    <Loaded query={query} height={320}>
      {(data) => {
        const rows = itemsOf(data);
        const looked = data.pages.at(-1)?.scanned_until ?? null;
        return (
          <Card withBorder padding="md">
            <Stack gap="sm">
              {rows.length > 0 && <CallsTable rows={rows} />}
              {rows.length === 0 && looked === null && (
                <Empty title="No calls like that">Choose a longer period, or ask for less.</Empty>
              )}
              {looked !== null && (
                <Text size="sm" c="dimmed" ta="center">
                  Looked at the calls since <When at={looked} />. There may be more before.
                </Text>
              )}
              <More query={query} />
            </Stack>
          </Card>
        );
      }}
    </Loaded>
  );
}

/** Every call, looked for by what was decided of it; each leads to its explanation. */
export function DecisionsPage() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const filters = filtersOf({ ...search });
  const wanted = textsOf({ ...search }, WANTED);
  const [adding, setAdding] = useState(false);
  const known = useKnownNames(filters, adding);
  const query = useCalls(search);
  const go = (next: DecisionsSearch) => void navigate({ search: next, resetScroll: false });
  return (
    <Page title="Decisions" about="Every call: what was decided, why, and what it cost">
      <FilterBar
        filters={filters}
        change={(next) => go({ ...wanted, ...next })}
        known={known}
        adding={setAdding}
      />
      <SearchForm
        key={JSON.stringify(wanted)}
        search={search}
        error={query.error}
        change={(next) => go({ ...filters, ...next })}
      />
      <Found query={query} />
    </Page>
  );
}
