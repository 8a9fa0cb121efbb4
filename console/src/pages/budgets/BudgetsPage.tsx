import { Page } from "@/parts/Page";

export function BudgetsPage() {
  return <Page title="Budgets">{null}</Page>;
}
