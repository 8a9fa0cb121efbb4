import { Button, Card, Group, TextInput } from "@mantine/core";
import { IconPlus, IconSearch } from "@tabler/icons-react";
import { useQueryClient } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useState } from "react";
import type { KeyCreated, KeyShown } from "@/client";
import { shows } from "@/live/topics";
import { Choice } from "@/parts/Choice";
import { Page } from "@/parts/Page";
import { itemsOf } from "@/parts/pages";
import { Empty, Loaded } from "@/parts/states";
import { useMay } from "@/session/session";
import { ClearKey } from "./ClearKey";
import { chosenOf } from "./chosen";
import { KeyTable } from "./KeyTable";
import { NewKey } from "./NewKey";
import { RevokeKey } from "./RevokeKey";
import { type KeysSearch, STATES } from "./search";
import { useKeys } from "./useKeys";

const route = getRouteApi("/keys");

/** What is open above the page. The key in clear is nowhere else, and gone when its dialog is. */
type Dialog =
  | { is: "new" }
  | { is: "clear"; made: KeyCreated }
  | { is: "revoke"; revoked: KeyShown }
  | undefined;

function Dialogs({ dialog, open }: { dialog: Dialog; open: (dialog: Dialog) => void }) {
  const queries = useQueryClient();
  const close = () => open(undefined);
  switch (dialog?.is) {
    case "new":
      return (
        <NewKey
          close={close}
          made={(made) => {
            open({ is: "clear", made });
            void queries.invalidateQueries({ predicate: (query) => shows(query, ["keys"]) });
          }}
        />
      );
    case "clear":
      return <ClearKey made={dialog.made} close={close} />;
    case "revoke":
      return <RevokeKey revoked={dialog.revoked} close={close} />;
    default:
      return null;
  }
}

/** Who may call: all keys, by prefix; new ones are made here, and others revoked. */
export function KeysPage() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const admin = useMay("admin");
  const query = useKeys();
  const [dialog, setDialog] = useState<Dialog>();
  const change = (part: KeysSearch) =>
    void navigate({ search: (before) => ({ ...before, ...part }), replace: true });
  return (
    <Page
      title="Keys"
      about="Who may call, as what, and on which models. None of them is stored in clear."
      actions={
        admin && (
          <Button size="xs" leftSection={<IconPlus size={14} />} onClick={() => setDialog({ is: "new" })}>
            New key
          </Button>
        )
      }
    >
      <Group gap="xs" role="search" aria-label="Filters">
        <Choice
          label="State"
          data={STATES}
          value={search.state ?? "live"}
          change={(state) => change({ state })}
        />
        <TextInput
          size="xs"
          aria-label="Find a key"
          placeholder="Principal, agent, prefix, tag"
          leftSection={<IconSearch size={14} />}
          value={search.q ?? ""}
          onChange={(event) => change({ q: event.currentTarget.value })}
        />
      </Group>
      <Loaded query={query} height={240}>
        {(data) => {
          const items = itemsOf(data);
          const keys = chosenOf(items, search);
          if (keys.length === 0) {
            return (
              <Empty title="No such key">
                {items.length === 0
                  ? "Make a key for each program and person."
                  : "Look for something else, or at all of them."}
              </Empty>
            );
          }
          return (
            <Card withBorder padding="xs">
              <KeyTable
                keys={keys}
                all={items}
                revoke={admin ? (revoked) => setDialog({ is: "revoke", revoked }) : undefined}
              />
            </Card>
          );
        }}
      </Loaded>
      <Dialogs dialog={dialog} open={setDialog} />
    </Page>
  );
}
