import { Box, Grid, Stack } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useState } from "react";
import { listApprovalsInfiniteOptions } from "@/client/@tanstack/react-query.gen";
import { Choice } from "@/parts/Choice";
import { TextLink } from "@/parts/links";
import { More } from "@/parts/More";
import { Page } from "@/parts/Page";
import { itemsOf, PAGED } from "@/parts/pages";
import { Empty, Failure, Loading } from "@/parts/states";
import { Inbox } from "./Inbox";
import { Request } from "./Request";
import { STATES, type StateChoice } from "./search";

const route = getRouteApi("/approvals");

function Nothing({ state }: { state: StateChoice }) {
  if (state !== "pending") {
    return <Empty title="No request of this kind">Requests are kept as long as the journal is.</Empty>;
  }
  return (
    <Empty
      title="Nobody waits for you"
      action={
        <TextLink to="/budgets" size="sm">
          See the budgets
        </TextLink>
      }
    >
      A budget with the action "approval_required" asks here once a call would go over its limit. New requests
      show by themselves.
    </Empty>
  );
}

/** The list of one state, and the request that is chosen in it: on a phone one screen after the other. */
function Desk({ state }: { state: StateChoice }) {
  const search = route.useSearch();
  const query = useInfiniteQuery({
    ...listApprovalsInfiniteOptions({ query: state === "any" ? {} : { state } }),
    ...PAGED,
  });
  const found = query.data && itemsOf(query.data);
  // The one that was shown stays when a newer one comes, and when it is decided.
  const [first, setFirst] = useState<string>();
  if (first === undefined && found?.[0] !== undefined) setFirst(found[0].id);
  const chosen = search.id ?? first;
  if (found === undefined) {
    if (query.error) return <Failure error={query.error} retry={() => void query.refetch()} />;
    return <Loading height={240} />;
  }
  if (chosen === undefined) return <Nothing state={state} />;
  return (
    <Grid gap="lg">
      <Grid.Col span={{ base: 12, md: 4, lg: 3.5 }} {...wideOnly(search.id !== undefined)}>
        <Stack gap="sm">
          {found.length === 0 && <Nothing state={state} />}
          <Inbox approvals={found} chosen={chosen} search={search} />
          <More query={query} />
        </Stack>
      </Grid.Col>
      <Grid.Col span={{ base: 12, md: 8, lg: 8.5 }} {...wideOnly(search.id === undefined)}>
        <Request key={chosen} id={chosen} next={found.find((each) => each.id !== chosen)} />
      </Grid.Col>
    </Grid>
  );
}

const wideOnly = (only: boolean) => (only ? { visibleFrom: "md" as const } : {});

/** The inbox of requests to go over a budget, and what became of earlier ones. */
export function ApprovalsPage() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const state = search.state ?? "pending";
  return (
    <Page title="Approvals" about="Who asks to go over a budget, and why. The first decision holds.">
      <Box {...wideOnly(search.id !== undefined)}>
        <Choice
          label="State"
          data={STATES}
          value={state}
          change={(value) => void navigate({ search: value === "pending" ? {} : { state: value } })}
        />
      </Box>
      <Desk key={state} state={state} />
    </Page>
  );
}
