import { Button, Card, Code, Group, SimpleGrid, Stack, Text, Title } from "@mantine/core";
import { IconPlugConnected } from "@tabler/icons-react";
import type { ReactNode } from "react";
import type { ProviderShown } from "@/client";
import { duration, percent, whole } from "@/parts/amounts";
import { State } from "@/parts/Badges";
import { Spark } from "@/parts/Spark";
import { When } from "@/parts/When";
import type { Traffic } from "./traffic";

function Fact({ label, children }: { label: string; children: ReactNode }) {
  return (
    <Stack gap={0}>
      <Text size="xs" c="dimmed">
        {label}
      </Text>
      <Text size="sm" component="div">
        {children}
      </Text>
    </Stack>
  );
}

/** One word for how a provider does: what its breaker says, or why it is not called. */
function wordOf(provider: ProviderShown): string {
  if (!provider.enabled) return "disabled";
  if (provider.credential.needed && !provider.credential.present) return "no credential";
  const health = provider.health;
  if (health === null) return "unknown";
  if (health.breaker === "closed") return health.cooldowns.length > 0 ? "degraded" : "healthy";
  return health.breaker === "open" ? "failing" : "half_open";
}

function Troubles({ provider }: { provider: ProviderShown }) {
  const health = provider.health;
  if (health === null) return null;
  return (
    <>
      {health.retry_at && (
        <Text size="xs" c="var(--warn)">
          Its breaker is {health.breaker.replace("_", " ")}; tried again at <When at={health.retry_at} />
        </Text>
      )}
      {health.cooldowns.map((each) => (
        <Text key={each.model} size="xs" c="var(--warn)">
          {each.model} cools down until <When at={each.until} /> ({each.reason.replaceAll("_", " ")})
        </Text>
      ))}
      {health.last_fault && (
        <Text size="xs" c="dimmed">
          Last fault <When at={health.last_fault.at} />: {health.last_fault.message}
        </Text>
      )}
    </>
  );
}

/** A provider: its health, its traffic, and the last test of its connection. */
export function ProviderCard({
  provider,
  traffic,
  testing,
  test,
}: {
  provider: ProviderShown;
  traffic: Traffic | null | undefined;
  testing: boolean;
  test: (() => void) | null;
}) {
  const { health, check } = provider;
  return (
    <Card withBorder padding="md" data-provider={provider.id}>
      <Stack gap="sm" h="100%" justify="space-between">
        <Stack gap="sm">
          <Group justify="space-between" wrap="nowrap" align="flex-start">
            <Stack gap={0}>
              <Title order={2} size="h4">
                {provider.display_name || provider.id}
              </Title>
              <Text size="xs" c="dimmed">
                {provider.kind.replaceAll("_", " ")} · {provider.base_url}
              </Text>
            </Stack>
            <State word={wordOf(provider)} />
          </Group>
          <SimpleGrid cols={3} spacing="xs" verticalSpacing="xs">
            <Fact label="Breaker">{health ? health.breaker.replace("_", " ") : "–"}</Fact>
            <Fact label="First byte">{duration(health?.first_byte_ms)}</Fact>
            <Fact label="p95">{duration(traffic?.p95)}</Fact>
            <Fact label="Share of calls">{traffic ? percent(traffic.callShare) : "–"}</Fact>
            <Fact label="Calls">{traffic ? whole(traffic.calls) : "–"}</Fact>
            <Fact label="Failed">{traffic ? whole(traffic.failed) : "–"}</Fact>
            <Fact label="Models">{whole(provider.models)}</Fact>
            <Fact label="With a price">{whole(provider.priced)}</Fact>
            <Fact label="Faults">
              {health ? `${whole(health.faults)} of ${whole(health.attempts)}` : "–"}
            </Fact>
          </SimpleGrid>
          {traffic && <Spark points={traffic.points} label={`Course of the calls to ${provider.id}`} />}
          <Troubles provider={provider} />
          {provider.credential.reference && !provider.credential.present && (
            <Text size="xs" c="var(--bad)">
              <Code>{provider.credential.reference}</Code> is not set. Set it, and start the daemon again.
            </Text>
          )}
        </Stack>
        <Group justify="space-between" gap="xs">
          <Text
            size="xs"
            c={check === null || check.well ? "dimmed" : "var(--bad)"}
            data-check={check?.state}
          >
            {check === null ? (
              "Not tested yet"
            ) : (
              <>
                {check.state.replaceAll("_", " ")}: {check.message || "it answered"}
                {check.total_ms !== null && ` in ${duration(check.total_ms)}`}, <When at={check.checked_at} />
              </>
            )}
          </Text>
          {test && (
            <Button
              size="compact-xs"
              variant="light"
              leftSection={<IconPlugConnected size={12} />}
              loading={testing}
              onClick={test}
              aria-label={`Test the connection to ${provider.id}`}
            >
              Test
            </Button>
          )}
        </Group>
      </Stack>
    </Card>
  );
}
