import { useMantineColorScheme } from "@mantine/core";
import { Spotlight, type SpotlightActionData } from "@mantine/spotlight";
import {
  IconListSearch,
  IconLogout,
  IconMoon,
  IconPlus,
  IconSearch,
  IconUserCheck,
} from "@tabler/icons-react";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { ROLES, useMay, useSession, useSignOut } from "@/session/session";
import { PLACES } from "./places";

const ID = /^[\w.-]{20,80}$/;
const APPROVAL_ID = /^apr_/;

/** Everything the console can do, by keyboard: Ctrl K, ⌘ K or /. The id of a call leads to its decision. */
export function Palette() {
  const navigate = useNavigate();
  const signOut = useSignOut();
  const session = useSession();
  const admin = useMay("admin");
  const { toggleColorScheme } = useMantineColorScheme();
  const [text, setText] = useState("");

  const rank = ROLES.indexOf(session.role);
  const actions: SpotlightActionData[] = PLACES.filter((place) => ROLES.indexOf(place.role) <= rank).map(
    (place) => ({
      id: place.to,
      label: place.label,
      description: place.about,
      leftSection: <place.icon size={18} />,
      onClick: () => void navigate({ to: place.to }),
    }),
  );
  if (admin) {
    actions.push({
      id: "new-budget",
      label: "New budget",
      description: "Limit what somebody may use",
      leftSection: <IconPlus size={18} />,
      onClick: () => void navigate({ to: "/budgets/new" }),
    });
  }
  actions.push(
    {
      id: "theme",
      label: "Dark or light",
      description: "Change the colours",
      leftSection: <IconMoon size={18} />,
      onClick: toggleColorScheme,
    },
    {
      id: "sign-out",
      label: "Sign out",
      description: session.principal,
      leftSection: <IconLogout size={18} />,
      onClick: () => void signOut(),
    },
  );
  const sought = text.trim();
  if (APPROVAL_ID.test(sought)) {
    actions.unshift({
      id: "approval",
      label: `Approval ${sought}`,
      description: "Who asks for what",
      keywords: [sought],
      leftSection: <IconUserCheck size={18} />,
      onClick: () => void navigate({ to: "/approvals", search: { id: sought } }),
    });
  } else if (ID.test(sought)) {
    actions.unshift({
      id: "request",
      label: `Decision ${sought}`,
      description: "Explain this call",
      keywords: [sought],
      leftSection: <IconListSearch size={18} />,
      onClick: () => void navigate({ to: "/decisions/$id", params: { id: sought } }),
    });
  }
  return (
    <Spotlight
      actions={actions}
      query={text}
      onQueryChange={setText}
      nothingFound="Nothing by that name"
      highlightQuery
      attributes={{ content: { "aria-label": "Palette" } }}
      shortcut={["mod + K", "/"]}
      searchProps={{
        leftSection: <IconSearch size={18} />,
        placeholder: "Go to a page, or to the id of a request",
        "aria-label": "Go to",
      }}
    />
  );
}
