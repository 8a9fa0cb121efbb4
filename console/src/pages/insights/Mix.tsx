import { Card, Group, Progress, Stack, Text, Title } from "@mantine/core";
import type { MixItem } from "@/client";
import { percent, whole } from "@/parts/amounts";
import { Money } from "@/parts/Money";
import { Name } from "@/parts/Name";
import { OTHER_COLOR, SERIES_COLORS } from "@/theme";

function colorOf(item: MixItem, at: number): string {
  return item.other ? OTHER_COLOR : (SERIES_COLORS[at % SERIES_COLORS.length] ?? OTHER_COLOR);
}

function Item({ item, color }: { item: MixItem; color: string }) {
  const none = item.requests > 0 && item.unpriced === item.requests;
  return (
    <Group justify="space-between" gap="sm" wrap="nowrap">
      <Group gap={8} wrap="nowrap">
        <Progress value={100} w={10} size={10} radius="xl" color={color} aria-hidden />
        <Stack gap={0}>
          {item.other ? <Text size="sm">All others</Text> : <Name value={item.name} size="sm" />}
          {item.provider && <Name value={item.provider} size="xs" c="dimmed" />}
        </Stack>
      </Group>
      <Stack gap={0} align="flex-end" className="num">
        <Text size="sm" fw={600}>
          <Money nano={none ? null : item.cost_nano_usd} exact={none ? null : item.cost_usd} />
        </Text>
        <Text size="xs" c="dimmed">
          {none ? "" : percent(item.share_percent)}
          {item.unpriced > 0 && `${none ? "" : " + "}${whole(item.unpriced)} unpriced`}
        </Text>
      </Stack>
    </Group>
  );
}

/** What the cost of a period is made of. */
export function Mix({ title, items }: { title: string; items: MixItem[] }) {
  return (
    <Card withBorder padding="md" component="section" aria-label={title}>
      <Stack gap="sm">
        <Title order={2} size="h4">
          {title}
        </Title>
        {items.length === 0 && (
          <Text size="sm" c="dimmed">
            No calls in this period.
          </Text>
        )}
        {items.some((item) => item.cost_nano_usd > 0) && (
          <Progress.Root size="lg" radius="sm" aria-hidden>
            {items.map((item, at) => (
              <Progress.Section
                key={`${item.other} ${item.provider} ${item.name}`}
                value={Number(item.share_percent ?? 0)}
                color={colorOf(item, at)}
                withAria={false}
              />
            ))}
          </Progress.Root>
        )}
        {items.map((item, at) => (
          <Item key={`${item.other} ${item.provider} ${item.name}`} item={item} color={colorOf(item, at)} />
        ))}
      </Stack>
    </Card>
  );
}
