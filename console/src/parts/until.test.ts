import { describe, expect, it } from "vitest";
import { distanceText } from "./Until";

const NOW = Date.parse("2026-11-24T12:00:00Z");

describe("distances in time", () => {
  it("says how long until, and how long ago", () => {
    expect(distanceText("2026-11-24T12:23:30Z", NOW)).toBe("in 23 min");
    expect(distanceText("2026-11-24T07:00:00Z", NOW)).toBe("5 h ago");
    expect(distanceText("2026-11-26T11:59:59Z", NOW)).toBe("in 47 h");
    expect(distanceText("2026-11-28T12:00:00Z", NOW)).toBe("in 4 days");
  });

  it("does not count seconds", () => {
    expect(distanceText("2026-11-24T12:00:59Z", NOW)).toBe("in a moment");
    expect(distanceText("2026-11-24T11:59:01Z", NOW)).toBe("just now");
  });
});
