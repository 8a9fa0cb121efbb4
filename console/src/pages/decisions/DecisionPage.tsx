import { Page } from "@/parts/Page";

export function DecisionPage() {
  return <Page title="Decision">{null}</Page>;
}
