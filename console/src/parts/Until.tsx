import { Text, type TextProps } from "@mantine/core";
import { useEffect, useState } from "react";
import { momentText } from "./When";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const LOOK_AGAIN_MS = 15_000;

/** How long from `now` (ms) to `at`: `in 23 min`, `5 h ago`, `just now`. */
export function distanceText(at: string, now: number): string {
  const ms = Date.parse(at) - now;
  const size = Math.abs(ms);
  if (size < MINUTE_MS) return ms > 0 ? "in a moment" : "just now";
  const text =
    size < HOUR_MS
      ? `${Math.floor(size / MINUTE_MS)} min`
      : size < 2 * DAY_MS
        ? `${Math.floor(size / HOUR_MS)} h`
        : `${Math.floor(size / DAY_MS)} days`;
  return ms > 0 ? `in ${text}` : `${text} ago`;
}

/** The time, in ms, looked at again every quarter of a minute. */
export function useNow(): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), LOOK_AGAIN_MS);
    return () => clearInterval(timer);
  }, []);
  return now;
}

/** How far away a time is; the time itself on hover. */
export function Until({ at, ...text }: { at: string } & TextProps) {
  const now = useNow();
  return (
    <Text span inherit className="nowrap" title={momentText(at)} {...text}>
      <time dateTime={at}>{distanceText(at, now)}</time>
    </Text>
  );
}
