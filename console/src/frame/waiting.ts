import { useQuery } from "@tanstack/react-query";
import { listAlertsOptions, listApprovalsOptions } from "@/client/@tanstack/react-query.gen";

const COUNTED = 50;

/** How many of a page of things there are: `50+` where there are more. */
function counted(page: { items: unknown[]; next_cursor?: string | null } | undefined): string {
  if (page === undefined || page.items.length === 0) return "";
  return page.next_cursor ? `${page.items.length}+` : String(page.items.length);
}

/** What waits for somebody, by the page that shows it; "" where nothing does. */
export function useWaiting(): Record<string, string> {
  const approvals = useQuery(listApprovalsOptions({ query: { state: "pending", limit: COUNTED } }));
  const alerts = useQuery(
    listAlertsOptions({ query: { state: "firing", acknowledged: false, limit: COUNTED } }),
  );
  return { "/approvals": counted(approvals.data), "/alerts": counted(alerts.data) };
}
