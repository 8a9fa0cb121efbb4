import { textsOf } from "@/parts/period";

export const VIEWS = ["providers", "models", "routing", "playground"] as const;
export type View = (typeof VIEWS)[number];

/** Which view is open, over how long traffic is counted, and which provider is looked at. */
export interface ModelsSearch {
  view?: View;
  since?: string;
  provider?: string;
}

/** What the address of the page says. */
export function modelsSearch(search: Record<string, unknown>): ModelsSearch {
  const { view, ...rest } = textsOf(search, ["view", "since", "provider"]);
  return VIEWS.some((each) => each === view) ? { ...rest, view: view as View } : rest;
}
