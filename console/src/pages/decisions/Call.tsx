import { Card, Stack, Title } from "@mantine/core";
import type { DecisionShown } from "@/client";
import { duration } from "@/parts/amounts";
import { Fact, Facts } from "@/parts/Facts";
import { TextLink } from "@/parts/links";
import { Name } from "@/parts/Name";
import { When } from "@/parts/When";

function Tags({ tags }: { tags: Record<string, string> }) {
  const told = Object.entries(tags).map(([name, value]) => `${name}=${value}`);
  return <Name value={told.join(", ")} lines={4} />;
}

/** Who called what, when, in which mode, and how long it took. */
export function Call({ decision }: { decision: DecisionShown }) {
  const { session, principal, settlement } = decision;
  return (
    <Card withBorder padding="md" h="100%" component="section" aria-label="Call">
      <Stack gap="sm">
        <Title order={2} size="h4">
          Call
        </Title>
        <Facts>
          <Fact name="Principal">
            <Name value={principal} />
          </Fact>
          <Fact name="Agent">
            <Name value={decision.agent} />
          </Fact>
          <Fact name="Session">
            {session === null ? (
              <Name value={null} />
            ) : (
              <TextLink size="sm" to="/usage/sessions/$session" params={{ session }} search={{ principal }}>
                <Name value={session} />
              </TextLink>
            )}
          </Fact>
          <Fact name="At">
            <When at={decision.at} />
          </Fact>
          <Fact name="Requested model">
            <Name value={decision.requested_model} />
          </Fact>
          <Fact name="Recommended model">
            <Name value={decision.recommended_model} />
          </Fact>
          <Fact name={decision.state === "denied" ? "Would have run on" : "Ran on"}>
            <Name value={decision.model} lines={0} />
            {decision.provider && (
              <>
                {" "}
                at <Name value={decision.provider} lines={0} />
              </>
            )}
          </Fact>
          <Fact name="Route">
            {decision.route}: <bdi>{decision.route_reason || "as requested"}</bdi>
          </Fact>
          <Fact name="Mode">
            {decision.mode}, from {decision.mode_origin || "the configuration"}
          </Fact>
          <Fact name="Endpoint">
            {decision.endpoint.replaceAll("_", " ")}
            {decision.stream && ", streamed"}
          </Fact>
          <Fact name="First byte">{duration(settlement?.first_byte_ms)}</Fact>
          <Fact name="Took">{duration(settlement?.total_ms)}</Fact>
          <Fact name="Task class">{decision.task_class.replaceAll("_", " ")}</Fact>
          <Fact name="Tags">
            <Tags tags={decision.tags} />
          </Fact>
          <Fact name="Key">
            <Name value={decision.key_id} lines={3} />
          </Fact>
          {decision.parent_session !== null && (
            <Fact name="Parent session">
              <Name value={decision.parent_session} />
            </Fact>
          )}
        </Facts>
      </Stack>
    </Card>
  );
}
