import { Group, NativeSelect, Pill, Stack } from "@mantine/core";
import { keepPreviousData, useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import type { NoticeShown } from "@/client";
import { listAlertsInfiniteOptions, listNoticesOptions } from "@/client/@tanstack/react-query.gen";
import { Choice } from "@/parts/Choice";
import { More } from "@/parts/More";
import { itemsOf, PAGED } from "@/parts/pages";
import { Empty, Loaded } from "@/parts/states";
import { useMay } from "@/session/session";
import { AlertCard } from "./AlertCard";
import { type AlertsSearch, alertsQuery, STATES } from "./search";
import { KINDS } from "./words";

const route = getRouteApi("/alerts");
const MESSAGES_READ = 200;

function Filters({ search }: { search: AlertsSearch }) {
  const navigate = route.useNavigate();
  const change = (part: Partial<AlertsSearch>) =>
    void navigate({ search: (before) => alertsSearchOf({ ...before, ...part }) });
  return (
    <Group gap="xs" role="search" aria-label="Filters">
      <Choice
        label="State"
        data={STATES}
        value={search.state ?? "open"}
        change={(state) => change({ state })}
      />
      <NativeSelect
        size="xs"
        aria-label="Kind"
        value={search.kind ?? ""}
        onChange={(event) => change({ kind: event.currentTarget.value })}
        data={[
          { value: "", label: "Any kind" },
          ...Object.entries(KINDS).map(([value, label]) => ({ value, label })),
        ]}
      />
      {(["policy", "principal"] as const).map((name) =>
        search[name] ? (
          <Pill
            key={name}
            size="md"
            withRemoveButton
            onRemove={() => change({ [name]: "" })}
            removeButtonProps={{
              "aria-label": `Remove the filter on ${name}`,
              "aria-hidden": false,
              tabIndex: 0,
            }}
          >
            {name}: {search[name]}
          </Pill>
        ) : null,
      )}
    </Group>
  );
}

/** Without what says nothing: empty texts, and the state that is shown anyway. */
function alertsSearchOf(search: AlertsSearch): AlertsSearch {
  const { kind, policy, principal, state, ...rest } = search;
  return {
    ...rest,
    ...(state && state !== "open" && { state }),
    ...(kind && { kind }),
    ...(policy && { policy }),
    ...(principal && { principal }),
  };
}

function Nothing({ search }: { search: AlertsSearch }) {
  if (search.kind || search.policy || search.principal) {
    return <Empty title="No alert like this">Take a filter away, or look at all states.</Empty>;
  }
  if (search.state && search.state !== "open") return <Empty title="No alert of this state" />;
  return (
    <Empty title="Nothing is wrong">
      Budgets that fill up, spikes of cost, providers that fail and requests that wait show here by
      themselves.
    </Empty>
  );
}

/** Alerts by state and kind, newest first, each with the messages that were sent about it. */
export function AlertList() {
  const search = route.useSearch();
  const viewer = useMay("viewer");
  const query = useInfiniteQuery({
    ...listAlertsInfiniteOptions({ query: alertsQuery(search) }),
    ...PAGED,
    placeholderData: keepPreviousData,
  });
  const messages = useQuery({
    ...listNoticesOptions({ query: { limit: MESSAGES_READ } }),
    enabled: viewer,
  });
  const about = (id: string): NoticeShown[] =>
    (messages.data?.items ?? []).filter((notice) => notice.alert_id === id);
  return (
    <Stack>
      <Filters search={search} />
      <Loaded query={query} height={240}>
        {(data) => (
          <Stack gap="sm">
            {itemsOf(data).map((alert) => (
              <AlertCard key={alert.id} alert={alert} notices={about(alert.id)} />
            ))}
            {itemsOf(data).length === 0 && <Nothing search={search} />}
            <More query={query} />
          </Stack>
        )}
      </Loaded>
    </Stack>
  );
}
