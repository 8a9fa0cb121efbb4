import { SegmentedControl } from "@mantine/core";
import { getRouteApi } from "@tanstack/react-router";
import { SPANS } from "@/parts/period";

const route = getRouteApi("/models");
const DEFAULT = "7d";

/** Over how long traffic is counted, as the address says. */
export function useSpan(): string {
  return route.useSearch().since ?? DEFAULT;
}

/** Chooses it. */
export function Span() {
  const navigate = route.useNavigate();
  return (
    <SegmentedControl
      size="xs"
      aria-label="Period"
      data={SPANS.map((each) => ({ ...each }))}
      value={useSpan()}
      onChange={(since) => void navigate({ search: (before) => ({ ...before, since }) })}
    />
  );
}
