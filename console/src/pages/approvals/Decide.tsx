import { Alert, Button, Chip, Group, Radio, Stack, Text, TextInput } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconCheck, IconX } from "@tabler/icons-react";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { ApiProblem, messageOf } from "@/api/problem";
import type { ApprovalDecision, ApprovalShown } from "@/client";
import { decideApprovalMutation } from "@/client/@tanstack/react-query.gen";
import { writtenOf } from "@/parts/Amount";
import { unitOf } from "@/parts/amounts";
import { after, GRANTS, type GrantKind, kindsFor, SPANS } from "./grants";
import { useShown } from "./useShown";

/** What stands in the form: texts as they are written. */
interface Form {
  kind: GrantKind;
  amount: string;
  hours: string;
  until: string;
  reason: string;
}

const OTHER = "other";

function formOf(approval: ApprovalShown): Form {
  return {
    kind: kindsFor(approval)[0] ?? "timeboxed",
    amount: writtenOf(approval, "asked", approval.metric),
    hours: "1",
    until: "",
    reason: "",
  };
}

/** The decision to let it go on, as the API takes it. */
function bodyOf(form: Form, approval: ApprovalShown, now: number): ApprovalDecision {
  const body: ApprovalDecision = { decision: "allow", grant: form.kind };
  if (form.reason.trim()) body.reason = form.reason.trim();
  if (form.kind === "once") return body;
  const amount = form.amount.trim();
  if (amount) body[approval.metric === "cost_usd" ? "amount_usd" : "amount"] = amount;
  if (form.kind !== "timeboxed") return body;
  const at = new Date(form.until);
  if (form.hours !== OTHER) body.until = after(Number(form.hours), now);
  else if (!Number.isNaN(at.getTime())) body.until = at.toISOString();
  return body;
}

/** What a problem says about one of the fields; null if it is about another one. */
function about(error: unknown, ...fields: string[]): string | null {
  return error instanceof ApiProblem && error.field !== null && fields.includes(error.field)
    ? error.message
    : null;
}

function Ends({
  form,
  change,
  error,
}: {
  form: Form;
  change: (part: Partial<Form>) => void;
  error: unknown;
}) {
  return (
    <Stack gap="xs">
      <Chip.Group value={form.hours} onChange={(hours) => change({ hours: String(hours) })}>
        <Group gap="xs" role="radiogroup" aria-label="Until">
          {[...SPANS, { value: OTHER, label: "Other" }].map((span) => (
            <Chip key={span.value} value={span.value} size="sm">
              {span.label}
            </Chip>
          ))}
        </Group>
      </Chip.Group>
      {form.hours === OTHER && (
        <TextInput
          type="datetime-local"
          label="Until"
          value={form.until}
          onChange={(event) => change({ until: event.currentTarget.value })}
        />
      )}
      {about(error, "until") && (
        <Text size="sm" c="var(--bad)" role="alert">
          {about(error, "until")}
        </Text>
      )}
    </Stack>
  );
}

function Grant({
  approval,
  form,
  change,
  error,
}: {
  approval: ApprovalShown;
  form: Form;
  change: (part: Partial<Form>) => void;
  error: unknown;
}) {
  return (
    <Stack gap="sm">
      <Radio.Group
        label="What is granted"
        value={form.kind}
        onChange={(kind) => change({ kind: kind as GrantKind })}
        error={about(error, "grant")}
      >
        <Stack gap={6} mt={6}>
          {kindsFor(approval).map((kind) => (
            <Radio key={kind} value={kind} label={GRANTS[kind].label} />
          ))}
        </Stack>
      </Radio.Group>
      <Text size="xs" c="dimmed">
        {GRANTS[form.kind].about}
      </Text>
      {form.kind !== "once" && (
        <TextInput
          label={`How much more, in ${unitOf(approval.metric)}`}
          description="Empty: what is usual for this kind"
          inputMode="decimal"
          value={form.amount}
          onChange={(event) => change({ amount: event.currentTarget.value })}
          error={about(error, "amount", "amount_usd", "unit")}
          maw={320}
        />
      )}
      {form.kind === "timeboxed" && <Ends form={form} change={change} error={error} />}
    </Stack>
  );
}

/** Approve or deny: what is granted, and why. Only for who may. */
export function Decide({ approval }: { approval: ApprovalShown }) {
  const [form, setForm] = useState(() => formOf(approval));
  const change = (part: Partial<Form>) => setForm((before) => ({ ...before, ...part }));
  const { show, again } = useShown(approval.id);
  const deciding = useMutation({
    ...decideApprovalMutation(),
    onSuccess: (now, sent) => {
      show(now);
      const allowed = sent.body.decision === "allow";
      notifications.show({
        color: allowed ? "green" : "red",
        title: allowed ? "Approved" : "Denied",
        message: `${approval.requester} is told.`,
      });
    },
    onError: (error) => {
      if (!(error instanceof ApiProblem) || error.status !== 409) return;
      again();
      notifications.show({
        color: "yellow",
        title: "Decided already",
        message: error.message,
        autoClose: 10_000,
      });
    },
  });
  const send = (body: ApprovalDecision) => deciding.mutate({ path: { approval_id: approval.id }, body });
  const reason = form.reason.trim();
  const problem = deciding.error;
  const elsewhere = !about(problem, "grant", "amount", "amount_usd", "unit", "until", "reason");
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        send(bodyOf(form, approval, Date.now()));
      }}
    >
      <Stack gap="md">
        <Grant approval={approval} form={form} change={change} error={problem} />
        <TextInput
          label="Why"
          placeholder="Kept, and shown to whoever asked"
          value={form.reason}
          onChange={(event) => change({ reason: event.currentTarget.value })}
          error={about(problem, "reason")}
          maxLength={1_000}
        />
        {problem && elsewhere && (
          <Alert color="red" role="alert" title="Not decided">
            {messageOf(problem)}
          </Alert>
        )}
        <Group grow className="decide">
          <Button
            variant="light"
            color="red"
            size="md"
            leftSection={<IconX size={18} />}
            disabled={deciding.isPending}
            onClick={() => send({ decision: "deny", ...(reason && { reason }) })}
          >
            Deny
          </Button>
          <Button
            type="submit"
            color="green"
            size="md"
            leftSection={<IconCheck size={18} />}
            loading={deciding.isPending}
          >
            Approve
          </Button>
        </Group>
      </Stack>
    </form>
  );
}
