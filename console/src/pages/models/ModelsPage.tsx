import { Page } from "@/parts/Page";

export function ModelsPage() {
  return <Page title="Models">{null}</Page>;
}
