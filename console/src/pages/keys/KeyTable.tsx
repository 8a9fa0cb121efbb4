import { Badge, Button, Code, Group, Text } from "@mantine/core";
import type { KeyShown } from "@/client";
import { State } from "@/parts/Badges";
import { Name } from "@/parts/Name";
import { type Column, Table } from "@/parts/Table";
import { When } from "@/parts/When";

function Tags({ tags }: { tags: KeyShown["tags"] }) {
  const pairs = Object.entries(tags);
  if (pairs.length === 0) return "–";
  return (
    <Group gap={4}>
      {pairs.map(([name, value]) => (
        <Badge key={name} variant="default" tt="none" size="sm">
          {name}={value}
        </Badge>
      ))}
    </Group>
  );
}

function Origin({ shown, makers }: { shown: KeyShown; makers: ReadonlyMap<string, string> }) {
  if (shown.origin === "file") return <Text size="sm">configuration file</Text>;
  return (
    <>
      <When at={shown.created_at} />
      <Text size="xs" c="dimmed">
        by {makers.get(shown.created_by) ?? shown.created_by}
      </Text>
    </>
  );
}

function columns(makers: ReadonlyMap<string, string>): Column<KeyShown>[] {
  return [
    { title: "Key", cell: (row) => <Code className="nowrap">{row.prefix}…</Code> },
    { title: "Principal", cell: (row) => <Name value={row.principal} fw={600} /> },
    { title: "Agent", cell: (row) => <Name value={row.agent} none="any" /> },
    { title: "Role", cell: (row) => row.roles.join(", ") },
    { title: "Models", cell: (row) => (row.models.length > 0 ? row.models.join(", ") : "all") },
    { title: "Tags", cell: (row) => <Tags tags={row.tags} /> },
    { title: "Made", cell: (row) => <Origin shown={row} makers={makers} /> },
  ];
}

const REVOKED: Column<KeyShown> = {
  title: "Revoked",
  cell: (row) =>
    row.revoked_at === null ? <State word="in force" color="green" /> : <When at={row.revoked_at} />,
};

/** Keys as rows. With `revoke`, those that the API made can be revoked; the file's are changed there. */
export function KeyTable({
  keys,
  all,
  revoke,
}: {
  keys: readonly KeyShown[];
  all: readonly KeyShown[];
  revoke: ((key: KeyShown) => void) | undefined;
}) {
  const makers = new Map(all.map((each) => [each.id, each.principal]));
  const shown = [...columns(makers), REVOKED];
  if (revoke !== undefined) {
    shown.push({
      title: <span className="visually-hidden">Actions</span>,
      cell: (row) => {
        if (row.revoked_at !== null) return null;
        if (row.origin === "file") {
          return (
            <Text size="xs" c="dimmed">
              change it in the file
            </Text>
          );
        }
        return (
          <Button
            size="compact-xs"
            variant="light"
            color="red"
            onClick={() => revoke(row)}
            aria-label={`Revoke ${row.prefix} of ${row.principal}`}
          >
            Revoke
          </Button>
        );
      },
    });
  }
  return <Table label="Keys" columns={shown} rows={keys} rowKey={(row) => row.id} />;
}
