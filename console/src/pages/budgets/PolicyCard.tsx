import { Badge, Button, Card, Group, Stack, Text, Title } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import type { PolicyGauge } from "@/client";
import { whole } from "@/parts/amounts";
import { TextLink } from "@/parts/links";
import { AccountGauge } from "./AccountGauge";
import { sentenceOf, usedPart } from "./words";

const FIRST = 2;

/** A budget on the page of all: its rule in words, and the accounts nearest to their limit. */
export function PolicyCard({ gauge }: { gauge: PolicyGauge }) {
  const { policy, accounts, accounts_total } = gauge;
  const [opened, { toggle }] = useDisclosure(false);
  const ordered = [...accounts].sort((one, other) => usedPart(other) - usedPart(one));
  const shown = opened ? ordered : ordered.slice(0, FIRST);
  const rest = ordered.length - shown.length;
  return (
    <Card withBorder padding="md" data-policy={policy.id} opacity={policy.enabled ? 1 : 0.75}>
      <Stack gap="sm">
        <Group justify="space-between" wrap="nowrap" align="flex-start">
          <Stack gap={2}>
            <Title order={2} size="h4">
              <TextLink inherit to="/budgets/$id" params={{ id: policy.id }}>
                {policy.name}
              </TextLink>
            </Title>
            <Text size="sm" c="dimmed">
              {sentenceOf(policy)}
            </Text>
          </Stack>
          <Group gap={4} justify="flex-end" wrap="nowrap" flex="none">
            {!policy.enabled && <Badge color="gray">disabled</Badge>}
            {policy.mode && policy.mode !== "enforced" && (
              <Badge variant="light" color="grape" tt="none">
                {policy.mode.replace("_", " ")}
              </Badge>
            )}
            <Badge variant="default" tt="none">
              v{policy.version}
            </Badge>
          </Group>
        </Group>
        {shown.map((account) => (
          <AccountGauge key={`${account.entity} ${account.window_start}`} policy={policy} account={account} />
        ))}
        {accounts.length === 0 && (
          <Text size="sm" c="dimmed">
            {policy.interval === "request"
              ? "Each call is measured on its own: there is nothing to add up."
              : "No call has been counted in this window."}
          </Text>
        )}
        {(rest > 0 || opened) && (
          <Button variant="subtle" size="compact-xs" onClick={toggle} aria-expanded={opened}>
            {opened ? "Show less" : `Show ${whole(rest)} more`}
          </Button>
        )}
        {accounts_total > accounts.length && (
          <Text size="xs" c="dimmed">
            The {whole(accounts.length)} nearest to their limit, of {whole(accounts_total)}
          </Text>
        )}
      </Stack>
    </Card>
  );
}
