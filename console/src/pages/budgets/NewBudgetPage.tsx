import { Page } from "@/parts/Page";

export function NewBudgetPage() {
  return <Page title="New budget">{null}</Page>;
}
