import { Page } from "@/parts/Page";

export function ExportPage() {
  return <Page title="Export">{null}</Page>;
}
