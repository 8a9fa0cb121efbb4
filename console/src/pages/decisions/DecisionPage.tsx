import { ActionIcon, Card, Code, CopyButton, Grid, Group, Stack, Text, Tooltip } from "@mantine/core";
import { IconCheck, IconCopy } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { ApiProblem } from "@/api/problem";
import type { DecisionShown } from "@/client";
import { getDecisionOptions } from "@/client/@tanstack/react-query.gen";
import { State } from "@/parts/Badges";
import { ButtonLink } from "@/parts/links";
import { Page } from "@/parts/Page";
import { Empty, Loaded } from "@/parts/states";
import { useMay } from "@/session/session";
import { Budgets } from "./Budgets";
import { Call } from "./Call";
import { Candidates } from "./Candidates";
import { Otherwise } from "./Otherwise";
import { Raw } from "./Raw";
import { Settlement } from "./Settlement";
import { headline } from "./sentence";
import { Tries } from "./Tries";
import { Waterfall } from "./Waterfall";

const route = getRouteApi("/decisions/$id");
const STOPPED = new Set(["blocked", "approval_required", "hard_limit", "unknown"]);

function Copied({ id }: { id: string }) {
  return (
    <Group gap={4} wrap="nowrap">
      <Code>{id}</Code>
      <CopyButton value={id}>
        {({ copied, copy }) => (
          <Tooltip label={copied ? "Copied" : "Copy"}>
            <ActionIcon variant="subtle" size="sm" aria-label="Copy the request id" onClick={copy}>
              {copied ? <IconCheck size={14} /> : <IconCopy size={14} />}
            </ActionIcon>
          </Tooltip>
        )}
      </CopyButton>
    </Group>
  );
}

/** Where to go about a call that was refused: the message itself says what to do. */
function Next({ decision }: { decision: DecisionShown }) {
  const viewer = useMay("viewer");
  if (decision.state !== "denied") return null;
  const stopping = decision.evaluations.find((each) => STOPPED.has(each.status));
  return (
    <Group gap="xs">
      {decision.outcome === "ask" && (
        <ButtonLink size="xs" to="/approvals">
          Open approvals
        </ButtonLink>
      )}
      {viewer && stopping && (
        <ButtonLink size="xs" variant="default" to="/budgets/$id" params={{ id: stopping.policy_id }}>
          Open the budget {stopping.policy_id}
        </ButtonLink>
      )}
    </Group>
  );
}

function Head({ decision }: { decision: DecisionShown }) {
  const asked = decision.state === "denied" && decision.outcome === "ask";
  return (
    <Card
      withBorder
      padding="md"
      className="verdict"
      role="status"
      data-state={asked ? "asked" : decision.state}
    >
      <Stack gap="xs">
        <Group gap="xs">
          <State word={decision.state === "pending" ? "running" : decision.state} />
          <State word={decision.outcome} />
          {decision.status !== "ok" && <State word={decision.status} />}
        </Group>
        <Text data-headline>{headline(decision)}</Text>
        <Next decision={decision} />
      </Stack>
    </Card>
  );
}

/** One call with everything that was known, decided and used. */
export function DecisionPage() {
  const { id } = route.useParams();
  const query = useQuery(getDecisionOptions({ path: { request_id: id } }));
  const missing = query.error instanceof ApiProblem && query.error.status === 404;
  return (
    <Page title="Decision" about={<Copied id={id} />}>
      {missing ? (
        <Empty
          title="There is no such call"
          action={
            <ButtonLink variant="default" size="xs" to="/decisions">
              Look for it
            </ButtonLink>
          }
        >
          The id is that of the header x-palyra-request-id. Calls are kept for as long as the configuration
          says.
        </Empty>
      ) : (
        <Loaded query={query} height={400}>
          {(decision) => (
            <Stack gap="md">
              <Head decision={decision} />
              <Grid gap="md" align="stretch">
                <Grid.Col span={{ base: 12, lg: 5 }}>
                  <Waterfall decision={decision} />
                </Grid.Col>
                <Grid.Col span={{ base: 12, lg: 7 }}>
                  <Call decision={decision} />
                </Grid.Col>
              </Grid>
              <Budgets evaluations={decision.evaluations} told={decision.message} />
              <Candidates decision={decision} />
              <Settlement decision={decision} />
              <Otherwise decision={decision} />
              <Tries decision={decision} />
              <Raw document={decision} />
            </Stack>
          )}
        </Loaded>
      )}
    </Page>
  );
}
