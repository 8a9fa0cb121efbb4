import { Group, SimpleGrid, Stack, Text, TextInput } from "@mantine/core";
import { IconPlus, IconSearch } from "@tabler/icons-react";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useState } from "react";
import { budgetsStatusInfiniteOptions } from "@/client/@tanstack/react-query.gen";
import { ButtonLink } from "@/parts/links";
import { More } from "@/parts/More";
import { Page } from "@/parts/Page";
import { itemsOf, PAGED } from "@/parts/pages";
import { Empty, Failure, Loading } from "@/parts/states";
import { useMay } from "@/session/session";
import { PolicyCard } from "./PolicyCard";
import { usedPart, whom } from "./words";

const PAGE = 100;

/** Every budget as gauges: those nearest to their limit first. */
export function BudgetsPage() {
  const admin = useMay("admin");
  const [sought, setSought] = useState("");
  const query = useInfiniteQuery({
    ...budgetsStatusInfiniteOptions({ query: { limit: PAGE } }),
    ...PAGED,
  });
  const word = sought.trim().toLowerCase();
  const items = query.data ? itemsOf(query.data) : [];
  const fullness = (accounts: (typeof items)[number]["accounts"]) => Math.max(0, ...accounts.map(usedPart));
  const found = items
    .filter(({ policy }) => `${policy.id} ${policy.name} ${whom(policy.scope)}`.toLowerCase().includes(word))
    .sort((one, other) => fullness(other.accounts) - fullness(one.accounts));
  const add = admin && (
    <ButtonLink leftSection={<IconPlus size={16} />} to="/budgets/new">
      New budget
    </ButtonLink>
  );
  return (
    <Page title="Budgets" about="Who may use how much; posted, held, and where it will end" actions={add}>
      {query.error && !query.data && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.isPending && <Loading height={260} />}
      {query.data && items.length === 0 && (
        <Empty title="There is no budget yet" action={add}>
          A budget limits what somebody may use: in money, tokens or calls, per hour, day, week or month. Make
          one here, with <code>palyra budgets set</code>, or under <code>[[budgets]]</code> in the
          configuration file.
        </Empty>
      )}
      {items.length > 0 && (
        <Stack>
          <Group justify="space-between">
            <TextInput
              size="sm"
              aria-label="Find a budget"
              placeholder="Find a budget"
              leftSection={<IconSearch size={14} />}
              value={sought}
              onChange={(event) => setSought(event.currentTarget.value)}
            />
            <Legend />
          </Group>
          {found.length === 0 && <Empty title="No such budget">Look for less of its name or scope.</Empty>}
          <SimpleGrid cols={{ base: 1, lg: 2 }}>
            {found.map((gauge) => (
              <PolicyCard key={gauge.policy.id} gauge={gauge} />
            ))}
          </SimpleGrid>
          <More query={query} />
        </Stack>
      )}
    </Page>
  );
}

function Legend() {
  return (
    <Group gap="md" aria-hidden>
      {(["posted", "held", "forecast"] as const).map((each) => (
        <Group key={each} gap={6}>
          <span className={`legend legend-${each}`} />
          <Text size="xs" c="dimmed">
            {each}
          </Text>
        </Group>
      ))}
    </Group>
  );
}
