import { describe, expect, it } from "vitest";
import { documentOf, NEW } from "./draft";

describe("a draft of a budget", () => {
  it("leaves out what is not said", () => {
    expect(documentOf({ ...NEW, id: "daily", hard_limit: "5.00" })).toEqual({
      id: "daily",
      scope: "principal:*",
      metric: "cost_usd",
      interval: "day",
      action: "block",
      hard_limit: "5.00",
      enabled: true,
    });
  });

  it("never makes a float of money", () => {
    expect(documentOf({ ...NEW, hard_limit: "0.1" }).hard_limit).toBe("0.1");
    expect(documentOf({ ...NEW, hard_limit: "12" }).hard_limit).toBe("12");
  });

  it("counts tokens in whole numbers, and lets the API refuse others", () => {
    expect(documentOf({ ...NEW, metric: "total_tokens", hard_limit: "1200" }).hard_limit).toBe(1200);
    expect(documentOf({ ...NEW, metric: "total_tokens", hard_limit: "1.5k" }).hard_limit).toBe("1.5k");
  });

  it("has no entity where everything is bound", () => {
    expect(documentOf({ ...NEW, kind: "global" }).scope).toBe("global");
  });
});
