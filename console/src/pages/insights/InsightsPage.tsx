import { Card, Grid, SimpleGrid, Stack, Title } from "@mantine/core";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useState } from "react";
import type { UsageInsights } from "@/client";
import { usageInsightsOptions } from "@/client/@tanstack/react-query.gen";
import { CallsTable } from "@/pages/decisions/CallsTable";
import { useKnownNames } from "@/pages/usage/known";
import { FilterBar } from "@/parts/FilterBar";
import { Page } from "@/parts/Page";
import { asQuery, filtersOf } from "@/parts/period";
import { Loaded } from "@/parts/states";
import { Firing } from "./Firing";
import { Health } from "./Health";
import { Hints } from "./Hints";
import { Mix } from "./Mix";
import { Pressed } from "./Pressed";
import { Routes } from "./Routes";

const route = getRouteApi("/insights");
const RECENT = 8;

function Found({ insights }: { insights: UsageInsights }) {
  const recent = insights.recent_decisions.slice(0, RECENT);
  return (
    <Stack gap="md">
      <Hints hints={insights.hints} />
      <Grid gap="md" align="stretch">
        <Grid.Col span={{ base: 12, lg: 7 }}>
          <Pressed budgets={insights.budgets} />
        </Grid.Col>
        <Grid.Col span={{ base: 12, lg: 5 }}>
          <Routes insights={insights} />
        </Grid.Col>
      </Grid>
      <SimpleGrid cols={{ base: 1, md: 3 }} spacing="md">
        <Mix title="By model" items={insights.model_mix} />
        <Mix title="By principal" items={insights.principal_mix} />
        <Mix title="By agent" items={insights.agent_mix} />
      </SimpleGrid>
      <Health providers={insights.health} />
      <Firing alerts={insights.alerts} />
      {recent.length > 0 && (
        <Card withBorder padding="md" component="section" aria-label="Newest calls">
          <Stack gap="sm">
            <Title order={2} size="h4">
              Newest calls
            </Title>
            <CallsTable rows={recent} />
          </Stack>
        </Card>
      )}
    </Stack>
  );
}

/** What the usage of a period amounts to, and what to do about it. */
export function InsightsPage() {
  const filters = filtersOf({ ...route.useSearch() });
  const navigate = route.useNavigate();
  const [adding, setAdding] = useState(false);
  const known = useKnownNames(filters, adding);
  const query = useQuery({
    ...usageInsightsOptions({ query: asQuery(filters) }),
    placeholderData: keepPreviousData,
  });
  return (
    <Page title="Insights" about="What needs attention, and why">
      <FilterBar
        filters={filters}
        change={(next) => void navigate({ search: next, resetScroll: false })}
        known={known}
        adding={setAdding}
      />
      <Loaded query={query} height={400}>
        {(insights) => <Found insights={insights} />}
      </Loaded>
    </Page>
  );
}
