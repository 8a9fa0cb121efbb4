import { Card, Group, SimpleGrid, Stack, Text, Title } from "@mantine/core";
import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { ApiProblem } from "@/api/problem";
import type { UsageSessionItem } from "@/client";
import { getSessionInfiniteOptions } from "@/client/@tanstack/react-query.gen";
import { CallsTable } from "@/pages/decisions/CallsTable";
import { compact, whole } from "@/parts/amounts";
import { Figure } from "@/parts/Figure";
import { ButtonLink, TextLink } from "@/parts/links";
import { More } from "@/parts/More";
import { Name } from "@/parts/Name";
import { Page } from "@/parts/Page";
import { itemsOf, PAGED } from "@/parts/pages";
import { Empty, Loaded } from "@/parts/states";
import { When } from "@/parts/When";
import { SessionCost } from "./SessionCost";
import { SessionCourse } from "./SessionCourse";

const PAGE = 25;
const route = getRouteApi("/usage/sessions/$session");

function Sums({ session }: { session: UsageSessionItem }) {
  return (
    <SimpleGrid cols={{ base: 2, sm: 3, lg: 6 }} spacing={{ base: "xs", sm: "sm" }}>
      <Figure label="Spend" testId="cost" value={<SessionCost session={session} />} />
      <Figure label="Calls" testId="requests" value={whole(session.requests)} />
      <Figure label="Tokens in" testId="input_tokens" value={compact(session.input_tokens)} />
      <Figure label="Tokens out" testId="output_tokens" value={compact(session.output_tokens)} />
      <Figure label="Denied" testId="denied" value={whole(session.denied)} />
      <Figure label="Failed" testId="failed" value={whole(session.failed)} />
    </SimpleGrid>
  );
}

/** One session: its sums and its calls, each of which leads to its explanation. */
export function SessionPage() {
  const { session } = route.useParams();
  const { principal } = route.useSearch();
  const query = useInfiniteQuery({
    ...getSessionInfiniteOptions({
      path: { session },
      query: principal === undefined ? { limit: PAGE } : { principal, limit: PAGE },
    }),
    ...PAGED,
    initialPageParam: { path: { session } },
    placeholderData: keepPreviousData,
  });
  const first = query.data?.pages[0];
  const found = first?.session;
  const missing = query.error instanceof ApiProblem && query.error.status === 404;
  return (
    <Page
      title="Session"
      about={
        <Stack gap={2}>
          <Name value={session} fw={600} />
          {found && (
            <Group gap={6}>
              <Text size="sm" span>
                of{" "}
                <TextLink size="sm" to="/usage" search={{ principal: found.principal }}>
                  <Name value={found.principal} lines={0} />
                </TextLink>
                , agent <Name value={found.agent} lines={0} />, <When at={found.first_at} /> to{" "}
                <When at={found.last_at} />
              </Text>
            </Group>
          )}
        </Stack>
      }
    >
      {missing ? (
        <Empty
          title="There is no such session"
          action={
            <ButtonLink variant="default" size="xs" to="/usage" search={{ view: "sessions" }}>
              All sessions
            </ButtonLink>
          }
        >
          A session is here once one of its calls is over, for as long as calls are kept.
        </Empty>
      ) : (
        <Loaded query={query} height={320}>
          {(data) => (
            <Stack gap="md">
              {found && <Sums session={found} />}
              {first && <SessionCourse found={first} />}
              <Card withBorder padding="md">
                <Stack gap="sm">
                  <Title order={2} size="h4">
                    Calls
                  </Title>
                  <CallsTable rows={itemsOf(data)} within />
                  <More query={query} />
                </Stack>
              </Card>
            </Stack>
          )}
        </Loaded>
      )}
    </Page>
  );
}
