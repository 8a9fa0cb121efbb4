import { Alert, Button, Card, Grid, Group, Stack, Text } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { notifications } from "@mantine/notifications";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { ApiProblem, messageOf } from "@/api/problem";
import type { PolicyBody, PolicyShown } from "@/client";
import { createBudgetMutation, putBudgetMutation } from "@/client/@tanstack/react-query.gen";
import { shows } from "@/live/topics";
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

/**
 * Makes a budget, or changes the `current` one: checked as one types, with what it would have done beside it.
 * What is typed stays when somebody else changes the budget meanwhile; `edited` is the version it began from.
 */
export function PolicyForm({ current }: { current: PolicyShown | null }) {
  const [edited, setEdited] = useState(current);
  const [draft, setDraft] = useState<Draft>(() => (current ? draftOf(current) : NEW));
  const [touched, setTouched] = useState<ReadonlySet<string>>(new Set());
  const document = documentOf(draft);
  const [settled] = useDebouncedValue(JSON.stringify(document), PAUSE_MS);
  const check = useCheck(settled, draft.id.trim() !== "");
  const admin = useMay("admin");
  const saving = useSaving(edited);
  const refused = saving.error instanceof ApiProblem ? saving.error : null;

  const isOvertaken = current?.version !== edited?.version && !saving.isPending && !saving.isSuccess;
  const beginAnew = () => {
    setEdited(current);
    setDraft(current ? draftOf(current) : NEW);
    setTouched(new Set());
    saving.reset();
  };
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
  // What is shown until an answer comes is about an earlier draft.
  const checked = check.data?.ok === true && !check.isPlaceholderData;
  const good = checked && fresh && !taken;
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
              </Alert>
            )}
            {isOvertaken && (
              <Alert color="yellow" role="alert" title={`This budget is at version ${current?.version} now`}>
                <Stack gap="xs" align="flex-start">
                  <Text size="sm">
                    Somebody changed it while you were at it. What you wrote is still here, and cannot be
                    saved over the change.
                  </Text>
                  <Button size="xs" variant="default" onClick={beginAnew}>
                    Begin again with version {current?.version}
                  </Button>
                </Stack>
              </Alert>
            )}
            <Group justify="flex-end">
              <Text size="sm" c="dimmed" aria-live="polite">
                {good ? "" : open[0] && `${open[0].field}: ${open[0].detail}`}
              </Text>
              <Button type="submit" disabled={!good || !admin || isOvertaken} loading={saving.isPending}>
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
        <Preview settled={settled} ready={checked} />
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
    onError: () => queries.invalidateQueries({ predicate: (query) => shows(query, ["budgets"]) }),
    onSuccess: async (policy) => {
      // At once: whoever goes on from there must not be taken back when all is loaded.
      await navigate({ to: "/budgets/$id", params: { id: policy.id } });
      notifications.show({
        color: "green",
        message: `Budget ${policy.id} is in force, version ${policy.version}.`,
      });
      await queries.invalidateQueries();
    },
  });
}
