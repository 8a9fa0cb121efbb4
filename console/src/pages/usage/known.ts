import { useQueries } from "@tanstack/react-query";
import {
  usageAgentsOptions,
  usageModelsOptions,
  usagePrincipalsOptions,
  usageProvidersOptions,
} from "@/client/@tanstack/react-query.gen";
import { asQuery, type Filters, NAMES, type Name } from "@/parts/period";

/** Names that used something in the period, to choose from; read only while they are `wanted`. */
export function useKnownNames(filters: Filters, wanted: boolean): Partial<Record<Name, string[]>> {
  const { since, until } = asQuery(filters);
  const options = { query: { since, ...(until === undefined ? {} : { until }), limit: 100 } };
  const kept = { enabled: wanted, staleTime: 60_000 };
  const answers = useQueries({
    queries: [
      { ...usagePrincipalsOptions(options), ...kept },
      { ...usageAgentsOptions(options), ...kept },
      { ...usageModelsOptions(options), ...kept },
      { ...usageProvidersOptions(options), ...kept },
    ],
  });
  const found: Partial<Record<Name, string[]>> = {};
  NAMES.forEach((name, at) => {
    const names = answers[at]?.data?.items.map((item) => item[name]).filter((each) => !!each);
    found[name] = [...new Set(names as string[] | undefined)];
  });
  return found;
}
