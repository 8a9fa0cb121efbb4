import { Alert, Button, Group, Modal, NativeSelect, Stack, TagsInput, TextInput } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { messageOf } from "@/api/problem";
import type { KeyCreated } from "@/client";
import { createKeyMutation, listModelsOptions } from "@/client/@tanstack/react-query.gen";
import { ROLES, useSession } from "@/session/session";
import { bodyOf, type Draft, type Field, fieldOf, newToken, tagsProblem } from "./draft";

const ABOUT: Record<(typeof ROLES)[number], string> = {
  caller: "Calls models, and sees what is its own",
  viewer: "Sees everything, and changes nothing",
  operator: "Decides approvals, acknowledges alerts",
  admin: "Writes budgets and keys",
  owner: "Everything; makes owners",
};

/** The form of a new key. `made` gets the one answer that has it in clear. */
export function NewKey({ close, made }: { close: () => void; made: (key: KeyCreated) => void }) {
  const session = useSession();
  const offered = ROLES.slice(0, ROLES.indexOf(session.role) + 1);
  const models = useQuery(listModelsOptions());
  const [token, setToken] = useState(newToken);
  const [draft, setDraft] = useState<Draft>({
    principal: "",
    agent: session.agent ?? "",
    role: "caller",
    models: [],
    tags: [],
  });
  // Not kept behind the dialog: the answer has the key in clear.
  const making = useMutation({ ...createKeyMutation(), gcTime: 0, onSuccess: made });
  // Other contents are another key: they go under another name.
  const change = (part: Partial<Draft>) => {
    setDraft((before) => ({ ...before, ...part }));
    setToken(newToken());
  };
  const problem = (field: Field) => (fieldOf(making.error) === field ? messageOf(making.error) : null);
  const badTags = tagsProblem(draft.tags);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (badTags === null) making.mutate({ body: bodyOf(draft), headers: { "Idempotency-Key": token } });
  };
  return (
    <Modal opened onClose={close} title="New key" size="md">
      <form onSubmit={submit}>
        <Stack gap="sm">
          <TextInput
            label="Principal"
            description="Who pays: a person, a team or a service"
            value={draft.principal}
            onChange={(event) => change({ principal: event.currentTarget.value })}
            error={problem("principal")}
            maxLength={200}
            required
            data-autofocus
          />
          <TextInput
            label="Agent"
            description="Pins the key to one program; empty: each call says its own"
            value={draft.agent}
            onChange={(event) => change({ agent: event.currentTarget.value })}
            error={problem("agent")}
            maxLength={200}
          />
          <NativeSelect
            label="Role"
            value={draft.role}
            onChange={(event) => change({ role: event.currentTarget.value as Draft["role"] })}
            description={ABOUT[draft.role]}
            data={[...offered]}
            error={problem("roles")}
          />
          <TagsInput
            label="Models"
            description="Ids or patterns such as gpt-*; empty: all of them"
            placeholder={draft.models.length === 0 ? "All models" : ""}
            data={(models.data?.items ?? []).map((model) => String(model.id))}
            value={draft.models}
            onChange={(chosen) => change({ models: chosen })}
            error={problem("models")}
            acceptValueOnBlur
          />
          <TagsInput
            label="Tags"
            description="name=value, put on every call with this key"
            placeholder={draft.tags.length === 0 ? "team=platform" : ""}
            value={draft.tags}
            onChange={(tags) => change({ tags })}
            error={badTags ?? problem("tags")}
            acceptValueOnBlur
          />
          {making.error && fieldOf(making.error) === null && (
            <Alert color="red" role="alert" title="No key was made">
              {messageOf(making.error)}
            </Alert>
          )}
          <Group justify="flex-end" gap="xs">
            <Button variant="default" onClick={close}>
              Cancel
            </Button>
            <Button
              type="submit"
              loading={making.isPending}
              disabled={draft.principal.trim() === "" || badTags !== null}
            >
              Make the key
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
