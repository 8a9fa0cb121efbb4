import { Page } from "@/parts/Page";

export function KeysPage() {
  return <Page title="Keys">{null}</Page>;
}
