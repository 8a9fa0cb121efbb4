import { getRouteApi } from "@tanstack/react-router";
import { Choice } from "@/parts/Choice";
import { Page } from "@/parts/Page";
import { useMay } from "@/session/session";
import { AlertList } from "./AlertList";
import { MessageList } from "./MessageList";
import { VIEWS } from "./search";
import { TestMessage } from "./TestMessage";

const route = getRouteApi("/alerts");

/** What is wrong, or was, and the messages that were sent about it. */
export function AlertsPage() {
  const { view = "alerts" } = route.useSearch();
  const navigate = route.useNavigate();
  const viewer = useMay("viewer");
  const operator = useMay("operator");
  const messages = viewer && view === "messages";
  return (
    <Page
      title="Alerts"
      about="What is wrong, or was. An alert is over by itself once its cause is gone."
      actions={
        viewer && (
          <>
            <Choice
              label="View"
              data={VIEWS}
              value={view}
              change={(next) => void navigate({ search: next === "alerts" ? {} : { view: next } })}
            />
            {operator && <TestMessage />}
          </>
        )
      }
    >
      {messages ? <MessageList /> : <AlertList />}
    </Page>
  );
}
