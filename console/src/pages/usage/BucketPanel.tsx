import { Card, CloseButton, Group, Stack, Text, Title } from "@mantine/core";
import { TextLink } from "@/parts/links";
import { momentText } from "@/parts/When";
import { useMay } from "@/session/session";
import { bucketFilters } from "./questions";
import { Sessions } from "./Sessions";
import type { UsageSearch } from "./search";

/** What is in the bar that was clicked: its sessions, and the way to its calls. */
export function BucketPanel({ search, close }: { search: UsageSearch; close: () => void }) {
  const viewer = useMay("viewer");
  const { from, to, pick, by = "model" } = search;
  if (from === undefined || to === undefined) return null;
  const filters = bucketFilters(search);
  return (
    <Card withBorder padding="md" component="section" aria-label="Sessions of the bar" data-bucket={from}>
      <Sessions
        filters={filters}
        title={
          <Stack gap={0}>
            <Title order={2} size="h4">
              Sessions, {momentText(from)} to {momentText(to)}
            </Title>
            <Group gap="sm">
              {pick !== undefined && (
                <Text size="sm" c="dimmed">
                  {by}: <bdi>{pick === "" ? "none" : pick}</bdi>
                </Text>
              )}
              {viewer && (
                <TextLink size="sm" to="/decisions" search={filters}>
                  All calls of this time
                </TextLink>
              )}
            </Group>
          </Stack>
        }
        close={<CloseButton aria-label="Close the sessions of the bar" onClick={close} />}
      />
    </Card>
  );
}
