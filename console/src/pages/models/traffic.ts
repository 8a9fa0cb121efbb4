import { useQuery } from "@tanstack/react-query";
import { usageLatenciesOptions, usageModelsOptions } from "@/client/@tanstack/react-query.gen";

/** What one model at one provider did in a period. Latencies in ms, null where no call was timed. */
export interface Traffic {
  calls: number;
  failed: number;
  callShare: number | null;
  costNano: number;
  costUsd: string;
  points: number[];
  p50: number | null;
  p95: number | null;
}

const MOST = 200;

/** The name under which a model's traffic is found. */
export function trafficKey(provider: string, model: string): string {
  return `${provider}/${model}`;
}

/** Traffic since `since`, by `trafficKey`; undefined while it is not known. */
export function useTraffic(since: string): ReadonlyMap<string, Traffic> | undefined {
  const sums = useQuery(usageModelsOptions({ query: { since, sort: "calls", limit: MOST } }));
  const latencies = useQuery(usageLatenciesOptions({ query: { since } }));
  if (sums.data === undefined) return undefined;
  const all = sums.data.items.reduce((sum, each) => sum + each.requests, 0);
  const timed = new Map(
    latencies.data?.items.map((each) => [trafficKey(each.provider, each.model), each]) ?? [],
  );
  return new Map(
    sums.data.items.map((each) => {
      const key = trafficKey(each.provider ?? "", each.model ?? "");
      const latency = timed.get(key);
      return [
        key,
        {
          calls: each.requests,
          failed: each.failed,
          callShare: all === 0 ? null : (each.requests / all) * 100,
          costNano: each.cost_nano_usd,
          costUsd: each.cost_usd,
          points: each.sparkline,
          p50: latency?.p50_ms ?? null,
          p95: latency?.p95_ms ?? null,
        },
      ];
    }),
  );
}

/** The traffic of all models of a provider together; its latencies are those of its busiest model. */
export function ofProvider(traffic: ReadonlyMap<string, Traffic>, provider: string): Traffic | null {
  const own = [...traffic].filter(([key]) => key.startsWith(`${provider}/`)).map(([, each]) => each);
  if (own.length === 0) return null;
  const busiest = own.reduce((most, each) => (each.calls > most.calls ? each : most));
  return {
    ...busiest,
    calls: own.reduce((sum, each) => sum + each.calls, 0),
    failed: own.reduce((sum, each) => sum + each.failed, 0),
    callShare: own.reduce((sum, each) => sum + (each.callShare ?? 0), 0),
    costNano: own.reduce((sum, each) => sum + each.costNano, 0),
  };
}
