import { Grid, Stack } from "@mantine/core";
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
import { useWide } from "@/parts/useWide";
import { useMay } from "@/session/session";
import { Inbox } from "./Inbox";
import { Request } from "./Request";
import { STATES, type StateChoice } from "./search";

const route = getRouteApi("/approvals");

function Nothing({ state }: { state: StateChoice }) {
  const viewer = useMay("viewer");
  if (state !== "pending") return <Empty title="No request of this kind">Look at all of them.</Empty>;
  return (
    <Empty
      title="Nobody waits for a decision"
      action={
        viewer && (
          <TextLink to="/budgets" size="sm">
            See the budgets
          </TextLink>
        )
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
  const wide = useWide();
  const chosen = search.id ?? (wide ? first : undefined);
  if (found === undefined) {
    if (query.error) return <Failure error={query.error} retry={() => void query.refetch()} />;
    return <Loading height={240} />;
  }
  const list = (
    <Stack gap="sm">
      {found.length === 0 && <Nothing state={state} />}
      <Inbox approvals={found} chosen={chosen} search={search} />
      <More query={query} />
    </Stack>
  );
  if (chosen === undefined) return list;
  const request = <Request key={chosen} id={chosen} next={found.find((each) => each.id !== chosen)} />;
  if (!wide) return request;
  return (
    <Grid gap="lg">
      <Grid.Col span={{ md: 4, lg: 3.5 }}>{list}</Grid.Col>
      <Grid.Col span={{ md: 8, lg: 8.5 }}>{request}</Grid.Col>
    </Grid>
  );
}

/** The inbox of requests to go over a budget, and what became of earlier ones. */
export function ApprovalsPage() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const wide = useWide();
  const state = search.state ?? "pending";
  return (
    <Page title="Approvals" about="Who asks to go over a budget, and why. The first decision holds.">
      {(wide || search.id === undefined) && (
        <Choice
          label="State"
          data={STATES}
          value={state}
          change={(value) => void navigate({ search: value === "pending" ? {} : { state: value } })}
        />
      )}
      <Desk key={state} state={state} />
    </Page>
  );
}
