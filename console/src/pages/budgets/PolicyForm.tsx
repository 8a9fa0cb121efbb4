import { Alert, Button, Card, Grid, Group, Stack, Text } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { notifications } from "@mantine/notifications";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { ApiProblem, messageOf } from "@/api/problem";
import type { PolicyBody, PolicyShown } from "@/client";
import { createBudgetMutation, putBudgetMutation } from "@/client/@tanstack/react-query.gen";
import { useMay } from "@/session/session";
import { useCheck } from "./check";
import { type Draft, documentOf, draftOf, NEW } from "./draft";
import {
  type FieldsProps,
  LimitFields,
  RareFields,
  ScopeFields,
  ThresholdFields,
  WhenOverFields,
} from "./fields";
import { Preview } from "./Preview";

const PAUSE_MS = 350;

/** Makes a budget, or changes `edited`: checked as one types, with what it would have done beside it. */
export function PolicyForm({ edited }: { edited: PolicyShown | null }) {
  const [draft, setDraft] = useState<Draft>(() => (edited ? draftOf(edited) : NEW));
  const [touched, setTouched] = useState<ReadonlySet<string>>(new Set());
  const document = documentOf(draft);
  const [settled] = useDebouncedValue(JSON.stringify(document), PAUSE_MS);
  const check = useCheck(settled, draft.id.trim() !== "");
  const admin = useMay("admin");
  const saving = useSaving(edited);
  const refused = saving.error instanceof ApiProblem ? saving.error : null;

  const change = (part: Partial<Draft>) => {
    setDraft((before) => ({ ...before, ...part }));
    setTouched((before) => new Set([...before, ...Object.keys(part)]));
    saving.reset();
  };
  const problems = check.data?.problems ?? [];
  const everything = edited !== null;
  const of = (field: string): string | undefined => {
    if (refused?.field?.split(/[[.]/)[0] === field) return refused.message;
    const found = problems.find((each) => each.field.split(/[[.]/)[0] === field);
    // What nobody has written yet is not wrong: it is missing, and the button says so.
    return found && (everything || touched.has(field === "scope" ? "entity" : field))
      ? found.detail
      : undefined;
  };
  const taken = edited === null && check.data?.exists ? "There is a budget of this id already." : undefined;
  const props: FieldsProps = { draft, change, problemOf: of };
  const fresh = settled === JSON.stringify(document);
  const good = check.data?.ok === true && fresh && !taken;
  const open = problems.filter((each) => of(each.field.split(/[[.]/)[0] ?? "") === undefined);

  return (
    <Grid gap="lg">
      <Grid.Col span={{ base: 12, lg: 7 }}>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            if (good) saving.mutate(document as PolicyBody);
          }}
        >
          <Stack>
            <Card withBorder>
              <ScopeFields {...props} isNew={edited === null} taken={taken} />
            </Card>
            <Card withBorder>
              <LimitFields {...props} />
            </Card>
            <Card withBorder>
              <WhenOverFields {...props} />
            </Card>
            <Card withBorder>
              <ThresholdFields {...props} />
            </Card>
            <RareFields {...props} />
            {check.error && (
              <Alert color="red" role="alert" title="This could not be checked">
                {messageOf(check.error)}
              </Alert>
            )}
            {saving.error && (
              <Alert color="red" role="alert" title="Not saved">
                {messageOf(saving.error)}
                {refused?.status === 412 && " Load the page again to see what it is now."}
              </Alert>
            )}
            <Group justify="flex-end">
              <Text size="sm" c="dimmed" aria-live="polite">
                {good ? "" : open[0] && `${open[0].field}: ${open[0].detail}`}
              </Text>
              <Button type="submit" disabled={!good || !admin} loading={saving.isPending}>
                {edited ? "Save as a new version" : "Create the budget"}
              </Button>
            </Group>
            {!admin && (
              <Text size="sm" c="dimmed" ta="right">
                Saving needs the role admin. The preview is for everybody.
              </Text>
            )}
          </Stack>
        </form>
      </Grid.Col>
      <Grid.Col span={{ base: 12, lg: 5 }}>
        <Preview settled={settled} ready={check.data?.ok === true} />
      </Grid.Col>
    </Grid>
  );
}

/** Writes a budget: a new one only if its id is free, another version only upon the one that was seen. */
function useSaving(edited: PolicyShown | null) {
  const navigate = useNavigate();
  const queries = useQueryClient();
  const creating = useMutation(createBudgetMutation());
  const replacing = useMutation(putBudgetMutation());
  return useMutation({
    mutationFn: (body: PolicyBody) =>
      edited === null
        ? creating.mutateAsync({ body })
        : replacing.mutateAsync({
            path: { policy_id: edited.id },
            headers: { "If-Match": `"${edited.version}"` },
            body,
          }),
    onSuccess: async (policy) => {
      notifications.show({
        color: "green",
        message: `Budget ${policy.id} is in force, version ${policy.version}.`,
      });
      await queries.invalidateQueries();
      await navigate({ to: "/budgets/$id", params: { id: policy.id } });
    },
  });
}
