import { Alert, Button, Group, Stack, Text, TextInput } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { messageOf } from "@/api/problem";
import type { ApprovalShown } from "@/client";
import { revokeApprovalMutation } from "@/client/@tanstack/react-query.gen";
import { Amount, type Amounts, amountOf } from "@/parts/Amount";
import { ButtonLink, TextLink } from "@/parts/links";
import { When } from "@/parts/When";
import { useMay } from "@/session/session";
import { GRANTS, type GrantKind } from "./grants";
import { useShown } from "./useShown";

function Granted({ approval, grant }: { approval: ApprovalShown; grant: Amounts }) {
  const { metric } = approval;
  const used = amountOf(grant, "extra_used", metric);
  const live = grant.live === true;
  return (
    <Text size="sm" data-grant={String(grant.kind)} data-live={live}>
      {GRANTS[grant.kind as GrantKind]?.label ?? String(grant.kind)}:{" "}
      <Amount amounts={grant} name="extra" metric={metric} />
      {used !== null && (
        <>
          , <Amount amounts={grant} name="extra_used" metric={metric} /> of it used
        </>
      )}
      {grant.used === true && ", used"}
      {live ? ". Holds until " : ". Held until at most "}
      <When at={String(grant.expires_at)} />.
      {approval.used_by && (
        <>
          {" "}
          <TextLink to="/decisions/$id" params={{ id: approval.used_by }} inherit>
            The call that it let through
          </TextLink>
        </>
      )}
    </Text>
  );
}

function Revoke({ approval }: { approval: ApprovalShown }) {
  const [reason, setReason] = useState("");
  const [opened, setOpened] = useState(false);
  const { show, again } = useShown(approval.id);
  const revoking = useMutation({
    ...revokeApprovalMutation(),
    onSuccess: (now) => {
      show(now);
      notifications.show({
        color: "green",
        title: "Taken back",
        message: "The next call is decided without it.",
      });
    },
    onError: again,
  });
  if (!opened) {
    return (
      <Group>
        <Button variant="light" color="red" size="sm" onClick={() => setOpened(true)}>
          Take it back
        </Button>
      </Group>
    );
  }
  return (
    <Group align="flex-end" gap="xs">
      <TextInput
        label="Why it is taken back"
        placeholder="Kept, and shown to whoever asked"
        value={reason}
        onChange={(event) => setReason(event.currentTarget.value)}
        error={revoking.error && messageOf(revoking.error)}
        maxLength={1_000}
        flex="1 1 220px"
        data-autofocus
        autoFocus
      />
      <Button
        color="red"
        loading={revoking.isPending}
        onClick={() =>
          revoking.mutate({
            path: { approval_id: approval.id },
            body: { ...(reason.trim() && { reason: reason.trim() }) },
          })
        }
      >
        Take it back
      </Button>
      <Button variant="default" onClick={() => setOpened(false)}>
        Keep it
      </Button>
    </Group>
  );
}

const COLORS: Record<string, string> = { approved: "var(--good)", denied: "var(--bad)" };

/** What became of a request, and what can still be done about it. `next` is one more to look at. */
export function Outcome({ approval, next }: { approval: ApprovalShown; next: ApprovalShown | undefined }) {
  const operator = useMay("operator");
  const { grant, revocation } = approval;
  return (
    <Stack gap="sm">
      <Alert
        variant="default"
        title={
          <Text span inherit c={COLORS[approval.state]}>
            {approval.decided_by
              ? `${approval.grant ? "Approved" : "Denied"} by ${approval.decided_by}`
              : `This request is ${approval.state}`}
          </Text>
        }
        data-outcome={approval.state}
      >
        <Stack gap={4}>
          <Text size="sm">
            <When at={approval.decided_at} />
            {approval.decision_reason && <>: “{approval.decision_reason}”</>}
          </Text>
          {grant && <Granted approval={approval} grant={grant} />}
          {revocation && (
            <Text size="sm">
              Taken back by {String(revocation.by)}, <When at={String(revocation.at)} />
              {revocation.reason ? <>: “{String(revocation.reason)}”</> : "."}
            </Text>
          )}
        </Stack>
      </Alert>
      {operator && grant?.live === true && <Revoke approval={approval} />}
      {next?.state === "pending" && (
        <Group>
          <ButtonLink to="/approvals" search={{ id: next.id }} variant="light">
            Next: {next.requester}
          </ButtonLink>
        </Group>
      )}
    </Stack>
  );
}
