import { Card, Group, Stack, Text, Title } from "@mantine/core";
import type { AlertShown } from "@/client";
import { State } from "@/parts/Badges";
import { TextLink } from "@/parts/links";
import { When } from "@/parts/When";

/** Alerts that are firing now. To acknowledge one is for the page of alerts: reading changes nothing here. */
export function Firing({ alerts }: { alerts: AlertShown[] }) {
  if (alerts.length === 0) return null;
  return (
    <Card withBorder padding="md" component="section" aria-label="Firing alerts">
      <Stack gap="sm">
        <Group justify="space-between" gap="xs">
          <Title order={2} size="h4">
            Firing alerts
          </Title>
          <TextLink size="sm" to="/alerts">
            All alerts
          </TextLink>
        </Group>
        {alerts.map((alert) => (
          <Group key={alert.id} gap="sm" wrap="nowrap" align="flex-start">
            <State word={alert.severity} />
            <Text size="sm" flex={1}>
              <bdi>{alert.title}</bdi>
            </Text>
            <When at={alert.last_at} size="xs" c="dimmed" />
          </Group>
        ))}
      </Stack>
    </Card>
  );
}
