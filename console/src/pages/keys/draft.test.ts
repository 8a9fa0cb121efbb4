import { describe, expect, it } from "vitest";
import { ApiProblem } from "@/api/problem";
import { bodyOf, fieldOf, newToken, tagsProblem } from "./draft";

describe("a new key", () => {
  it("says nothing of what is left empty", () => {
    const draft = { principal: " ci-bot ", agent: " ", role: "caller" as const, models: [], tags: [] };
    expect(bodyOf(draft)).toEqual({ principal: "ci-bot", roles: ["caller"] });
  });

  it("keeps what stands behind the first equals sign of a tag", () => {
    const draft = {
      principal: "ci",
      agent: "nightly",
      role: "viewer" as const,
      models: ["gpt-*"],
      tags: ["team=platform", "why=a=b"],
    };
    expect(bodyOf(draft)).toEqual({
      principal: "ci",
      roles: ["viewer"],
      agent: "nightly",
      models: ["gpt-*"],
      tags: { team: "platform", why: "a=b" },
    });
  });

  it("refuses tags that are none, or there twice", () => {
    expect(tagsProblem(["team=platform"])).toBeNull();
    expect(tagsProblem(["team"])).toContain("name=value");
    expect(tagsProblem(["=x"])).toContain("name=value");
    expect(tagsProblem(["team=a", "team=b"])).toContain("twice");
  });

  it("knows which field a problem is about", () => {
    expect(fieldOf(new ApiProblem(422, "invalid_field", "no", "models[0]"))).toBe("models");
    expect(fieldOf(new ApiProblem(422, "invalid_field", "no", "tags.team"))).toBe("tags");
    expect(fieldOf(new ApiProblem(409, "already_exists", "no", "Idempotency-Key"))).toBeNull();
  });

  it("names each attempt anew", () => {
    expect(newToken()).toMatch(/^[0-9a-f]{32}$/);
    expect(newToken()).not.toBe(newToken());
  });
});
