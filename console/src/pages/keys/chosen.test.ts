import { describe, expect, it } from "vitest";
import type { KeyShown } from "@/client";
import { chosenOf } from "./chosen";

const key = (id: string, more: Partial<KeyShown> = {}): KeyShown => ({
  id,
  prefix: `sk-palyra-${id}`,
  principal: "alice",
  agent: null,
  roles: ["caller"],
  models: [],
  tags: {},
  created_at: "2026-11-24T12:00:00Z",
  created_by: "key_0",
  revoked_at: null,
  origin: "api",
  ...more,
});
const ids = (keys: KeyShown[]) => keys.map((each) => each.id);
const KEYS = [
  key("one"),
  key("two", { principal: "bob", tags: { team: "Platform" } }),
  key("three", { revoked_at: "2026-11-24T13:00:00Z" }),
];

describe("which keys are listed", () => {
  it("shows those in force, the newest first", () => {
    expect(ids(chosenOf(KEYS, {}))).toEqual(["two", "one"]);
    expect(ids(chosenOf(KEYS, { state: "revoked" }))).toEqual(["three"]);
    expect(ids(chosenOf(KEYS, { state: "any" }))).toEqual(["three", "two", "one"]);
  });

  it("finds them by any of their names", () => {
    expect(ids(chosenOf(KEYS, { q: " BOB " }))).toEqual(["two"]);
    expect(ids(chosenOf(KEYS, { q: "team=plat" }))).toEqual(["two"]);
    expect(ids(chosenOf(KEYS, { q: "palyra-one" }))).toEqual(["one"]);
    expect(ids(chosenOf(KEYS, { q: "nobody" }))).toEqual([]);
  });
});
