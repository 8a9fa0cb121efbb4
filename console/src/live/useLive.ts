import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { SESSION_KEY } from "@/session/session";
import { shows } from "./topics";

/** `live`: changes are told as they happen. `waiting`: the connection is down and is tried again. */
export type Liveness = "live" | "waiting";

const AGAIN_MS = 3_000;

/** Listens to the daemon, and has every shown query that a change concerns fetched anew. */
export function useLive(): Liveness {
  const queries = useQueryClient();
  const [liveness, setLiveness] = useState<Liveness>("waiting");
  useEffect(() => {
    let source: EventSource | null = null;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let missed = false;

    const listen = () => {
      source = new EventSource("/api/v1/events");
      source.addEventListener("hello", () => {
        setLiveness("live");
        // What happened while nobody told us is not known: everything may have changed.
        if (missed) void queries.invalidateQueries();
        missed = false;
      });
      source.addEventListener("change", (event) => {
        const { topics } = JSON.parse(event.data) as { topics: string[] };
        void queries.invalidateQueries({ predicate: (query) => shows(query, topics) });
      });
      source.addEventListener("error", () => {
        setLiveness("waiting");
        missed = true;
        if (source?.readyState !== EventSource.CLOSED) return;
        // Refused rather than cut: perhaps nobody is signed in any more.
        void queries.invalidateQueries({ queryKey: SESSION_KEY });
        timer = setTimeout(listen, AGAIN_MS);
      });
    };

    listen();
    return () => {
      clearTimeout(timer);
      source?.close();
    };
  }, [queries]);
  return liveness;
}
