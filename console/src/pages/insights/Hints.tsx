import { Button, Card, Group, Stack, Text, ThemeIcon, Title } from "@mantine/core";
import { IconAlertTriangle, IconBulb, IconCircleCheck, IconFlame } from "@tabler/icons-react";
import { useRouter } from "@tanstack/react-router";
import type { MouseEvent } from "react";
import type { HintShown } from "@/client";
import { State } from "@/parts/Badges";

const LOOKS = {
  critical: { icon: IconFlame, color: "red" },
  warning: { icon: IconAlertTriangle, color: "orange" },
  info: { icon: IconBulb, color: "lagoon" },
} as const;

/** A link to the page that a hint names. It comes from the API, so no type knows it. */
function Way({ link, label }: { link: string; label: string }) {
  const router = useRouter();
  const href = `${router.basepath}${link}`;
  const go = (event: MouseEvent) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    router.history.push(href);
  };
  return (
    <Button component="a" href={href} onClick={go} size="xs" variant="default" aria-label={label}>
      Look
    </Button>
  );
}

function Hint({ hint }: { hint: HintShown }) {
  const look = LOOKS[hint.severity];
  return (
    <Card withBorder padding="md" component="li" data-hint={hint.kind}>
      <Group gap="md" align="flex-start" wrap="nowrap">
        <ThemeIcon variant="light" color={look.color} size="lg" visibleFrom="xs" aria-hidden>
          <look.icon size={18} />
        </ThemeIcon>
        <Stack gap={4} flex={1}>
          <Group gap="xs">
            <Text fw={600}>
              <bdi>{hint.title}</bdi>
            </Text>
            <State word={hint.severity} />
          </Group>
          <Text size="sm">
            <bdi>{hint.detail}</bdi>
          </Text>
          <Text size="sm" c="dimmed">
            <bdi>{hint.action}</bdi>
          </Text>
        </Stack>
        <Way link={hint.link} label={`Look into: ${hint.title}`} />
      </Group>
    </Card>
  );
}

/** What to look at, the most pressing first, each with what to do next. */
export function Hints({ hints }: { hints: HintShown[] }) {
  return (
    <Stack gap="sm" component="section" aria-label="What needs attention">
      <Title order={2} size="h4">
        What needs attention
      </Title>
      {hints.length === 0 ? (
        <Card withBorder padding="md">
          <Group gap="sm">
            <ThemeIcon variant="light" color="green" size="lg">
              <IconCircleCheck size={18} />
            </ThemeIcon>
            <Text size="sm">
              Nothing. Budgets last, providers answer, and every call in this period has a price.
            </Text>
          </Group>
        </Card>
      ) : (
        <Stack gap="xs" component="ul" className="plain">
          {hints.map((hint) => (
            <Hint key={`${hint.kind} ${hint.title}`} hint={hint} />
          ))}
        </Stack>
      )}
    </Stack>
  );
}
