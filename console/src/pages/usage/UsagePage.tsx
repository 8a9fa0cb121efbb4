import { Page } from "@/parts/Page";

export function UsagePage() {
  return <Page title="Usage">{null}</Page>;
}
