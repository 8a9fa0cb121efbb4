import { Page } from "@/parts/Page";

export function BudgetPage() {
  return <Page title="Budget">{null}</Page>;
}
