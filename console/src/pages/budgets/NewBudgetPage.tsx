import { Page } from "@/parts/Page";
import { PolicyForm } from "./PolicyForm";

/** Makes a budget, and shows meanwhile what it would have done. */
export function NewBudgetPage() {
  return (
    <Page
      title="New budget"
      about="Nothing changes before you save; the preview replays what was really called"
    >
      <PolicyForm current={null} />
    </Page>
  );
}
