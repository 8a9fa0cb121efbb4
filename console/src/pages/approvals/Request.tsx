import { Card, Group, Stack, Text, Title } from "@mantine/core";
import { IconArrowLeft } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import type { ApprovalShown } from "@/client";
import { getApprovalOptions } from "@/client/@tanstack/react-query.gen";
import { Amount } from "@/parts/Amount";
import { State } from "@/parts/Badges";
import { Fact, Facts } from "@/parts/Facts";
import { ButtonLink, TextLink } from "@/parts/links";
import { Loaded } from "@/parts/states";
import { Until } from "@/parts/Until";
import { When } from "@/parts/When";
import { useMay, useSession } from "@/session/session";
import { Budget } from "./Budget";
import { Decide } from "./Decide";
import { Outcome } from "./Outcome";

const route = getRouteApi("/approvals");

function Heading({ approval }: { approval: ApprovalShown }) {
  return (
    <Stack gap={6}>
      <Group gap="xs" justify="space-between" wrap="nowrap" align="flex-start">
        <Title order={2} size="h4">
          {approval.requester} asks for <Amount amounts={approval} name="asked" metric={approval.metric} />
        </Title>
        <State word={approval.state} data-state={approval.state} />
      </Group>
      <Group gap="xs">
        <State word={approval.risk}>{approval.risk} risk</State>
        <Text size="sm" c="dimmed">
          on top of the limit of {approval.policy_id}
          {approval.state === "pending" && (
            <>
              {" "}
              · ends <Until at={approval.expires_at} />
            </>
          )}
        </Text>
      </Group>
      {approval.reason ? (
        <Text fs="italic" data-reason>
          “{approval.reason}”
        </Text>
      ) : (
        <Text c="dimmed" size="sm">
          {approval.request_id ? "A call was stopped, and asks to be let through." : "No reason is given."}
        </Text>
      )}
    </Stack>
  );
}

function Session({ approval }: { approval: ApprovalShown }) {
  if (!approval.session) return "–";
  return (
    <TextLink
      to="/usage/sessions/$session"
      params={{ session: approval.session }}
      search={{ principal: approval.requester }}
      inherit
    >
      {approval.session}
    </TextLink>
  );
}

function Call({ approval }: { approval: ApprovalShown }) {
  if (!approval.request_id) return "asked up front";
  return (
    <TextLink to="/decisions/$id" params={{ id: approval.request_id }} inherit>
      See its decision
    </TextLink>
  );
}

function Background({ approval }: { approval: ApprovalShown }) {
  const viewer = useMay("viewer");
  return (
    <Facts>
      <Fact name="Agent">{approval.agent ?? "–"}</Fact>
      <Fact name="Session">
        <Session approval={approval} />
      </Fact>
      <Fact name="Model">{approval.model ?? "–"}</Fact>
      <Fact name="Call">
        <Call approval={approval} />
      </Fact>
      <Fact name="Budget">
        {viewer ? (
          <TextLink to="/budgets/$id" params={{ id: approval.policy_id }} inherit>
            {approval.policy_id}
          </TextLink>
        ) : (
          approval.policy_id
        )}
      </Fact>
      <Fact name="Grant would cover">{approval.principal ?? "everybody on this account"}</Fact>
      <Fact name="Asked">
        {approval.occurrences === 1 ? "once" : `${approval.occurrences} times`}, last{" "}
        <Until at={approval.asked_at} />
      </Fact>
      <Fact name="Open until">
        <When at={approval.expires_at} />
      </Fact>
    </Facts>
  );
}

/** The decision for who may make it; for all others why they may not. */
function Deciding({ approval }: { approval: ApprovalShown }) {
  const { principal } = useSession();
  const operator = useMay("operator");
  const own = principal === approval.requester || principal === approval.principal;
  if (operator && !own) return <Decide approval={approval} />;
  return (
    <Text size="sm" c="dimmed" data-not-yours>
      {own
        ? "You asked for this, or it is for you: somebody else must decide it."
        : "Deciding needs the role operator. Sign in with a key that has it, or ask an operator."}
    </Text>
  );
}

/** Everything that is known of one request, and what can be done about it. `next` waits as well. */
export function Request({ id, next }: { id: string; next: ApprovalShown | undefined }) {
  const { state } = route.useSearch();
  const query = useQuery(getApprovalOptions({ path: { approval_id: id } }));
  return (
    <Stack gap="sm">
      <Group justify="space-between" hiddenFrom="md">
        <ButtonLink
          to="/approvals"
          search={state === undefined ? {} : { state }}
          variant="subtle"
          size="compact-sm"
          leftSection={<IconArrowLeft size={16} />}
        >
          All requests
        </ButtonLink>
      </Group>
      <Loaded query={query} height={320}>
        {(approval) => (
          <Card withBorder padding="lg" data-request={approval.id}>
            <Stack gap="lg">
              <Heading approval={approval} />
              <Budget approval={approval} />
              <Background approval={approval} />
              {approval.state === "pending" ? (
                <Deciding approval={approval} />
              ) : (
                <Outcome approval={approval} next={next} />
              )}
            </Stack>
          </Card>
        )}
      </Loaded>
    </Stack>
  );
}
