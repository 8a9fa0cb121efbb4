import { Page } from "@/parts/Page";

export function SessionPage() {
  return <Page title="Session">{null}</Page>;
}
