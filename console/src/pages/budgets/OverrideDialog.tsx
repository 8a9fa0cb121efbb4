import { Alert, Button, Group, Modal, Stack, Text, Textarea, TextInput } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { ApiProblem, messageOf } from "@/api/problem";
import type { PolicyShown } from "@/client";
import { requestOverrideMutation } from "@/client/@tanstack/react-query.gen";
import { unitOf } from "@/parts/amounts";
import { TextLink } from "@/parts/links";

/** Asks people for more on top of a budget's limit, before a call is stopped by it. */
export function OverrideDialog({ policy, close }: { policy: PolicyShown; close: () => void }) {
  const [amount, setAmount] = useState("");
  const [reason, setReason] = useState("");
  const [entity, setEntity] = useState("");
  const asking = useMutation(requestOverrideMutation());
  const each = policy.scope.endsWith("*");
  const money = policy.metric === "cost_usd";
  const problem = asking.error instanceof ApiProblem ? asking.error : null;
  const at = (field: string) => (problem?.field?.startsWith(field) ? problem.message : undefined);
  const beside = ["amount", "reason", "entity"].some((field) => at(field) !== undefined);
  const send = () =>
    asking.mutate({
      path: { policy_id: policy.id },
      body: {
        reason: reason.trim(),
        ...(amount.trim() === "" ? {} : money ? { amount_usd: amount.trim() } : { amount: amount.trim() }),
        ...(entity.trim() === "" ? {} : { entity: entity.trim() }),
      },
    });
  return (
    <Modal opened onClose={close} title={`Request an override of ${policy.id}`}>
      {asking.data ? (
        <Stack>
          <Alert color="green" title="Asked">
            The request waits for somebody to decide.
          </Alert>
          <Group justify="flex-end">
            <TextLink to="/approvals" search={{ id: asking.data.id }}>
              See the request
            </TextLink>
            <Button onClick={close}>Close</Button>
          </Group>
        </Stack>
      ) : (
        <Stack>
          <Text size="sm" c="dimmed">
            Somebody with the role operator decides. What is granted adds to the limit of this window.
          </Text>
          <TextInput
            label={`How much more, in ${unitOf(policy.metric)}`}
            placeholder={money ? "25.00" : "100000"}
            inputMode="decimal"
            value={amount}
            onChange={(event) => setAmount(event.currentTarget.value)}
            error={at("amount")}
            data-autofocus
          />
          {each && (
            <TextInput
              label={`For which ${policy.scope.split(":")[0]}`}
              description="Empty: your own"
              value={entity}
              onChange={(event) => setEntity(event.currentTarget.value)}
              error={at("entity")}
            />
          )}
          <Textarea
            label="Why"
            required
            autosize
            minRows={2}
            value={reason}
            onChange={(event) => setReason(event.currentTarget.value)}
            error={at("reason")}
          />
          {asking.error && !beside && (
            <Alert color="red" role="alert">
              {messageOf(asking.error)}
            </Alert>
          )}
          <Group justify="flex-end">
            <Button variant="default" onClick={close}>
              Cancel
            </Button>
            <Button onClick={send} loading={asking.isPending} disabled={reason.trim() === ""}>
              Ask
            </Button>
          </Group>
        </Stack>
      )}
    </Modal>
  );
}
