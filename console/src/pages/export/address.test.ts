import { describe, expect, it } from "vitest";
import { curlLine, exportPath, exportQuery } from "./address";

describe("the address of an export", () => {
  it("has the filters of the page", () => {
    const query = exportQuery({ since: "7d", principal: "a&b", dataset: "agents" }, "Europe/Prague");
    expect(query).toEqual({ dataset: "agents", format: "csv", since: "7d", principal: "a&b" });
    expect(exportPath(query)).toBe("/api/v1/usage/export?dataset=agents&format=csv&since=7d&principal=a%26b");
  });

  it("asks for buckets of a timeline only, and for the hours of FOCUS whatever was chosen", () => {
    expect(exportQuery({ by: "model" }, "Europe/Prague")).toEqual({
      dataset: "timeline",
      format: "csv",
      since: "30d",
      bucket: "auto",
      timezone: "Europe/Prague",
      by: "model",
    });
    expect(exportQuery({ format: "focus", dataset: "timeline", by: "model" }, "UTC").dataset).toBe("hours");
  });

  it("is one word of a shell, whatever a name holds", () => {
    const line = curlLine("http://d", { principal: "x'; rm -rf $HOME; '" });
    expect(line).toContain(`--data-urlencode 'principal=x'\\''; rm -rf $HOME; '\\'''`);
  });
});
