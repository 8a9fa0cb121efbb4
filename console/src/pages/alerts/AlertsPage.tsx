import { Page } from "@/parts/Page";

export function AlertsPage() {
  return <Page title="Alerts">{null}</Page>;
}
