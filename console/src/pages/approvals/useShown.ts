import { useQueryClient } from "@tanstack/react-query";
import type { ApprovalShown } from "@/client";
import { getApprovalQueryKey } from "@/client/@tanstack/react-query.gen";
import { shows } from "@/live/topics";

/** What the page shows of a request: `show` puts a new version there, `again` asks for what is now. */
export function useShown(id: string): { show: (now: ApprovalShown) => void; again: () => void } {
  const queries = useQueryClient();
  const again = () => void queries.invalidateQueries({ predicate: (query) => shows(query, ["approvals"]) });
  return {
    show: (now) => {
      queries.setQueryData(getApprovalQueryKey({ path: { approval_id: id } }), now);
      again();
    },
    again,
  };
}
