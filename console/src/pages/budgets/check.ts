import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { ApiProblem } from "@/api/problem";
import { type PolicyBody, simulateBudgets, validateBudget } from "@/client";

const BUSY = 429;
const BUSY_TRIES = 30;
const AGAIN_MS = 1_000;

/** What the daemon says of a draft, a JSON text. Nothing is written. */
export function useCheck(settled: string, enabled: boolean) {
  return useQuery({
    queryKey: ["validateBudget", settled],
    queryFn: async ({ signal }) => (await validateBudget({ body: JSON.parse(settled), signal })).data,
    enabled,
    placeholderData: keepPreviousData,
    staleTime: Number.POSITIVE_INFINITY,
  });
}

/** What a draft that is good would have done to the calls of the last 30 days. One simulation runs at a time. */
export function useSimulation(settled: string, enabled: boolean) {
  return useQuery({
    queryKey: ["simulateBudgets", settled],
    queryFn: async ({ signal }) =>
      (await simulateBudgets({ body: { policies: [JSON.parse(settled) as PolicyBody] }, signal })).data,
    enabled,
    placeholderData: keepPreviousData,
    staleTime: Number.POSITIVE_INFINITY,
    retry: (count, error) => error instanceof ApiProblem && error.status === BUSY && count < BUSY_TRIES,
    retryDelay: AGAIN_MS,
  });
}
