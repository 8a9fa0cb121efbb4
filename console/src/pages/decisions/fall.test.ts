import { describe, expect, it } from "vitest";
import type { DecisionWhole } from "@/client";
import { fallOf } from "./fall";

const ESTIMATE = {
  cost_expected_nano_usd: 3,
  cost_bound_nano_usd: 10,
  input_tokens_bound: 100,
  output_tokens_bound: 50,
};

function call(parts: object): DecisionWhole {
  return { state: "settled", estimate: ESTIMATE, settlement: null, ...parts } as unknown as DecisionWhole;
}

function settlement(cost: number | null) {
  return {
    state: "settled",
    cost_nano_usd: cost,
    held_nano_usd: cost === null ? null : 10,
    usage: { input_tokens: 40, output_tokens: 20 },
  };
}

describe("what became of the money of a call", () => {
  it("falls from what was held to what it cost", () => {
    const { unit, steps } = fallOf(call({ settlement: settlement(4) }));
    expect(unit).toBe("usd");
    expect(steps.map(({ name, from, to }) => [name, from, to])).toEqual([
      ["expected", 0, 3],
      ["held", 0, 10],
      ["settled", 0, 4],
      ["released", 4, 10],
    ]);
  });

  it("tells an overrun from what was given back", () => {
    expect(fallOf(call({ settlement: settlement(12) })).steps.at(-1)).toMatchObject({
      name: "overrun",
      from: 10,
      to: 12,
    });
  });

  it("gives everything back where nothing was charged", () => {
    const { steps } = fallOf(call({ state: "released", settlement: settlement(0) }));
    expect(steps.at(-1)).toMatchObject({ name: "released", from: 0, to: 10 });
  });

  it("is of tokens where no price is known, as unknown is not nothing", () => {
    const estimate = { ...ESTIMATE, cost_expected_nano_usd: null, cost_bound_nano_usd: null };
    const { unit, steps } = fallOf(call({ estimate, settlement: settlement(null) }));
    expect(unit).toBe("tokens");
    expect(steps.map(({ name, to }) => [name, to])).toEqual([
      ["held", 150],
      ["settled", 60],
      ["released", 150],
    ]);
  });

  it("shows what a refused call would have held, and of a running one only what is held", () => {
    expect(fallOf(call({ state: "denied" })).steps.map(({ label }) => label)).toEqual([
      "Expected",
      "Would have held",
    ]);
    expect(fallOf(call({ state: "pending" })).steps).toHaveLength(2);
  });
});
