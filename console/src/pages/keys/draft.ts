import { ApiProblem } from "@/api/problem";
import type { KeyBody } from "@/client";
import type { Role } from "@/session/session";

/** A new key, as it stands in the form. */
export interface Draft {
  principal: string;
  agent: string;
  role: Role;
  models: string[];
  tags: string[];
}

const TAG = /^[^=\s][^=]*=.+$/;

/** What is wrong with the tags of a draft; null if nothing is. */
export function tagsProblem(tags: readonly string[]): string | null {
  const bad = tags.find((tag) => !TAG.test(tag));
  if (bad !== undefined) return `"${bad}" is no tag; write name=value.`;
  const names = tags.map((tag) => tag.slice(0, tag.indexOf("=")));
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  return twice === undefined ? null : `"${twice}" is there twice.`;
}

/** The draft as the API takes it. */
export function bodyOf(draft: Draft): KeyBody {
  const tags = Object.fromEntries(
    draft.tags.map((tag) => [tag.slice(0, tag.indexOf("=")).trim(), tag.slice(tag.indexOf("=") + 1).trim()]),
  );
  return {
    principal: draft.principal.trim(),
    roles: [draft.role],
    ...(draft.agent.trim() && { agent: draft.agent.trim() }),
    ...(draft.models.length > 0 && { models: draft.models }),
    ...(draft.tags.length > 0 && { tags }),
  };
}

const FIELDS = ["principal", "agent", "roles", "models", "tags"] as const;
export type Field = (typeof FIELDS)[number];

/** The field of the form that a problem is about: `models[0]` is `models`; null if it is none of them. */
export function fieldOf(error: unknown): Field | null {
  if (!(error instanceof ApiProblem) || error.field === null) return null;
  const name = error.field.split(/[.[]/)[0];
  return FIELDS.find((each) => each === name) ?? null;
}

/** A name for one attempt to make a key: however often it is sent, it makes one. */
export function newToken(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}
