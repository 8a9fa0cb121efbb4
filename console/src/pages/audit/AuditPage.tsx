import { Button, Group, Select, Stack, TextInput } from "@mantine/core";
import { IconDownload } from "@tabler/icons-react";
import { getRouteApi } from "@tanstack/react-router";
import { useState } from "react";
import { Page } from "@/parts/Page";
import { SPANS } from "@/parts/period";
import { useMay } from "@/session/session";
import { Changes } from "./Changes";
import { type AuditSearch, KINDS } from "./search";
import { Verify } from "./Verify";

const route = getRouteApi("/audit");

/** A filter that is written, and holds when Enter is pressed or the field is left. */
function Written({ label, value, take }: { label: string; value: string; take: (text: string) => void }) {
  const [text, setText] = useState(value);
  return (
    <TextInput
      size="xs"
      aria-label={label}
      placeholder={label}
      value={text}
      onChange={(event) => setText(event.currentTarget.value)}
      onBlur={() => text !== value && take(text)}
      onKeyDown={(event) => event.key === "Enter" && take(text)}
    />
  );
}

/** Who changed which rules, and the proof that nobody changed the books. */
export function AuditPage() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const operator = useMay("operator");
  const change = (name: keyof AuditSearch, value: string | null) =>
    void navigate({
      search: (before) => {
        const after: AuditSearch = { ...before };
        if (value) after[name] = value;
        else delete after[name];
        return after;
      },
      replace: true,
    });
  return (
    <Page
      title="Audit"
      about="Who changed what, from what to what. Each entry is part of a chain that any change would break."
      actions={
        operator && (
          <Button
            component="a"
            size="xs"
            variant="default"
            leftSection={<IconDownload size={14} />}
            href="/api/v1/audit/export"
            download="palyra-journal.jsonl"
          >
            Export the journal
          </Button>
        )
      }
    >
      <Stack>
        {operator && <Verify />}
        <Group gap="xs" role="search" aria-label="Filters">
          <Select
            size="xs"
            aria-label="Kind"
            placeholder="Every kind"
            clearable
            data={[...KINDS]}
            value={search.kind ?? null}
            onChange={(kind) => change("kind", kind)}
          />
          <Select
            size="xs"
            aria-label="Period"
            placeholder="Ever since"
            clearable
            data={SPANS.map((each) => ({ ...each }))}
            value={search.since ?? null}
            onChange={(since) => change("since", since)}
          />
          <Written
            key={`ref ${search.ref}`}
            label="Id of what changed"
            value={search.ref ?? ""}
            take={(ref) => change("ref", ref)}
          />
          <Written
            key={`by ${search.by}`}
            label="By: id of a key, or config"
            value={search.by ?? ""}
            take={(by) => change("by", by)}
          />
        </Group>
        <Changes search={search} />
      </Stack>
    </Page>
  );
}
