import { Page } from "@/parts/Page";

export function DecisionsPage() {
  return <Page title="Decisions">{null}</Page>;
}
