import { useMediaQuery } from "@mantine/hooks";

/** Whether the window is wide enough for a list beside what it leads to: from the breakpoint `md` on. */
export function useWide(): boolean {
  return useMediaQuery("(min-width: 62em)", undefined, { getInitialValueInEffect: false });
}
