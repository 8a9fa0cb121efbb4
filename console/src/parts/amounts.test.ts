import { describe, expect, it } from "vitest";
import { compact, duration, inMetric, percent, usd, withUnit } from "./amounts";

describe("amounts", () => {
  it("never shows an unknown amount as nothing", () => {
    expect(usd(null)).toBe("–");
    expect(usd(0)).toBe("$0");
    expect(percent(null)).toBe("–");
  });

  it("keeps small amounts apart from none", () => {
    expect(usd(1)).toBe("<$0.0001");
    expect(usd(2_720_000)).toBe("$0.0027");
    expect(usd(-1)).toBe(">-$0.0001");
  });

  it("rounds large ones to what can be read", () => {
    expect(usd(1_234_567_890_000)).toBe("$1,235");
    expect(usd(41_200_000_000)).toBe("$41.20");
    expect(compact(1_250_000)).toBe("1.3M");
  });

  it("writes each metric in its unit", () => {
    expect(inMetric("cost_usd", 5_000_000_000)).toBe("$5.00");
    expect(inMetric("total_tokens", 12_000)).toBe("12,000");
    expect(withUnit("requests", 1)).toBe("1 call");
    expect(withUnit("total_tokens", 12_000)).toBe("12,000 tokens");
    expect(duration(2_400)).toBe("2.4 s");
  });
});
