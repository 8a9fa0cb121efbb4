import { Alert, Badge, Button, Card, Group, Stack, Tabs, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconHandStop } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import type { PolicyStatus } from "@/client";
import { budgetStatusOptions } from "@/client/@tanstack/react-query.gen";
import { Page } from "@/parts/Page";
import { Empty, Loaded } from "@/parts/states";
import { useMay } from "@/session/session";
import { AccountGauge } from "./AccountGauge";
import { DeleteBudget } from "./DeleteBudget";
import { History } from "./History";
import { OverrideDialog } from "./OverrideDialog";
import { PolicyForm } from "./PolicyForm";
import { VIEWS, type View } from "./search";
import { sentenceOf, usedPart } from "./words";

const route = getRouteApi("/budgets/$id");
const LABELS: Record<View, string> = { accounts: "Accounts", history: "History", edit: "Edit" };

function Accounts({ status }: { status: PolicyStatus }) {
  const ordered = [...status.accounts].sort((one, other) => usedPart(other) - usedPart(one));
  const open = ordered.filter((account) => account.open);
  const over = ordered.filter((account) => !account.open);
  if (ordered.length === 0) {
    return <Empty title="No call has been counted on this budget">It shows here with the first one.</Empty>;
  }
  return (
    <Stack>
      {[
        { title: "Now", accounts: open },
        { title: "Earlier windows", accounts: over },
      ].map(
        ({ title, accounts }) =>
          accounts.length > 0 && (
            <Card key={title} withBorder>
              <Stack>
                <Text fw={600}>{title}</Text>
                {accounts.map((account) => (
                  <AccountGauge
                    key={`${account.entity} ${account.metric} ${account.window_start}`}
                    policy={status.policy}
                    account={account}
                  />
                ))}
              </Stack>
            </Card>
          ),
      )}
    </Stack>
  );
}

/** One budget: its accounts, its past, and the form that changes it. */
export function BudgetPage() {
  const { id } = route.useParams();
  const { view = "accounts" } = route.useSearch();
  const navigate = route.useNavigate();
  const status = useQuery(budgetStatusOptions({ path: { policy_id: id } }));
  const [asking, { open, close }] = useDisclosure(false);
  const admin = useMay("admin");
  const policy = status.data?.policy;
  return (
    <Page
      title={policy?.name ?? id}
      about={policy && sentenceOf(policy)}
      actions={
        policy && (
          <>
            <Badge variant="default" tt="none">
              v{policy.version}
            </Badge>
            {!policy.enabled && <Badge color="gray">disabled</Badge>}
            <Button size="xs" variant="default" leftSection={<IconHandStop size={14} />} onClick={open}>
              Request an override
            </Button>
            {admin && policy.origin === "api" && <DeleteBudget policy={policy} />}
          </>
        )
      }
    >
      <Tabs
        value={view}
        keepMounted={false}
        onChange={(next) => void navigate({ search: { view: next as View } })}
      >
        <Tabs.List mb="md">
          {VIEWS.map((each) => (
            <Tabs.Tab key={each} value={each}>
              {LABELS[each]}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        <Tabs.Panel value="accounts">
          <Loaded query={status}>{(found) => <Accounts status={found} />}</Loaded>
        </Tabs.Panel>
        <Tabs.Panel value="history">
          <History id={id} />
        </Tabs.Panel>
        <Tabs.Panel value="edit">
          <Loaded query={status}>
            {(found) =>
              found.policy.origin === "file" ? (
                <Alert color="blue" title="This budget is defined in the configuration file">
                  <Group>
                    <Text size="sm">
                      Change it there, under <code>[[budgets]]</code>, and start the daemon again. Try a
                      change on history first: <code>palyra budgets simulate</code>.
                    </Text>
                  </Group>
                </Alert>
              ) : (
                <PolicyForm key={found.policy.id} current={found.policy} />
              )
            }
          </Loaded>
        </Tabs.Panel>
      </Tabs>
      {policy && asking && <OverrideDialog policy={policy} close={close} />}
    </Page>
  );
}
