import { describe, expect, it } from "vitest";
import { longLabel, shortLabel } from "./labels";

describe("labels of buckets", () => {
  it("keep the clock of the zone that was asked for", () => {
    expect(shortLabel("hour", "2026-11-24T05:00:00+01:00")).toBe("05:00");
    expect(shortLabel("hour", "2026-11-24T00:00:00+05:30")).toBe("24 Nov");
    expect(longLabel("hour", "2026-11-24T23:00:00-08:00")).toBe("Tue, 24 Nov 2026, 23:00");
  });

  it("name days and months", () => {
    expect(shortLabel("day", "2026-11-01")).toBe("1 Nov");
    expect(longLabel("day", "2026-11-24")).toBe("Tue, 24 Nov 2026");
    expect(longLabel("month", "2026-11")).toBe("Nov 2026");
  });
});
