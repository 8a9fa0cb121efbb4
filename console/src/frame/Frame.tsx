import {
  ActionIcon,
  AppShell,
  Badge,
  Burger,
  Button,
  Group,
  Kbd,
  Popover,
  Stack,
  Text,
  Tooltip,
  useComputedColorScheme,
  useMantineColorScheme,
} from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { spotlight } from "@mantine/spotlight";
import { IconLogout, IconMoon, IconSearch, IconSun, IconUser } from "@tabler/icons-react";
import { Link, Outlet } from "@tanstack/react-router";
import { useRef } from "react";
import { useLive } from "@/live/useLive";
import { momentText } from "@/parts/When";
import { useSession, useSignOut } from "@/session/session";
import { Logo } from "./Logo";
import { Navigation } from "./Navigation";
import { Palette } from "./Palette";

function LiveBadge() {
  const liveness = useLive();
  const live = liveness === "live";
  return (
    <Tooltip label={live ? "Changes show by themselves" : "No connection to the daemon; trying again"}>
      <Badge variant="dot" color={live ? "green" : "orange"} tt="none" role="status" data-live={liveness}>
        {live ? "Live" : "Waiting"}
      </Badge>
    </Tooltip>
  );
}

function ThemeButton() {
  const { setColorScheme } = useMantineColorScheme();
  const dark = useComputedColorScheme("light") === "dark";
  return (
    <ActionIcon
      variant="default"
      size="lg"
      aria-label={dark ? "Use light colours" : "Use dark colours"}
      onClick={() => setColorScheme(dark ? "light" : "dark")}
    >
      {dark ? <IconSun size={18} /> : <IconMoon size={18} />}
    </ActionIcon>
  );
}

function Person() {
  const session = useSession();
  const signOut = useSignOut();
  return (
    <Popover position="bottom-end" withinPortal trapFocus returnFocus>
      <Popover.Target>
        <ActionIcon variant="default" size="lg" aria-label={`Signed in as ${session.principal}`}>
          <IconUser size={18} />
        </ActionIcon>
      </Popover.Target>
      <Popover.Dropdown>
        <Stack gap="xs" maw={240}>
          <Text size="sm">
            <bdi>{session.principal}</bdi> · {session.role}
          </Text>
          <Text size="xs" c="dimmed">
            {session.expires_at && <>until {momentText(session.expires_at)} · </>}Palyra {session.version}
          </Text>
          <Button
            size="xs"
            variant="default"
            leftSection={<IconLogout size={16} />}
            onClick={() => void signOut()}
          >
            Sign out
          </Button>
        </Stack>
      </Popover.Dropdown>
    </Popover>
  );
}

/** What is around every page: the way to the others, the palette, the theme, and who is signed in. */
export function Frame() {
  const [opened, { toggle, close }] = useDisclosure(false);
  const content = useRef<HTMLElement>(null);
  return (
    <AppShell
      header={{ height: 56 }}
      navbar={{ width: 208, breakpoint: "md", collapsed: { mobile: !opened } }}
      padding={{ base: "sm", sm: "lg" }}
    >
      <AppShell.Header>
        <button type="button" className="skip" onClick={() => content.current?.focus()}>
          Skip to the content
        </button>
        <Group h="100%" px="md" justify="space-between" wrap="nowrap">
          <Group gap="sm" wrap="nowrap">
            <Burger
              opened={opened}
              onClick={toggle}
              hiddenFrom="md"
              size="sm"
              aria-label="Pages"
              aria-expanded={opened}
            />
            <Group
              component={Link}
              gap={8}
              wrap="nowrap"
              {...{ to: "/usage", className: "brand", "aria-label": "Palyra: usage" }}
            >
              <Logo />
              <Text fw={700} visibleFrom="xs">
                Palyra
              </Text>
            </Group>
          </Group>
          <Group gap="xs" wrap="nowrap">
            <LiveBadge />
            <Button
              variant="default"
              size="sm"
              visibleFrom="sm"
              leftSection={<IconSearch size={16} />}
              rightSection={<Kbd size="xs">Ctrl K</Kbd>}
              onClick={spotlight.open}
            >
              Go to
            </Button>
            <ActionIcon
              variant="default"
              size="lg"
              hiddenFrom="sm"
              aria-label="Go to"
              onClick={spotlight.open}
            >
              <IconSearch size={18} />
            </ActionIcon>
            <ThemeButton />
            <Person />
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="xs" aria-label="Pages" className="ways" data-closed={!opened || undefined}>
        <Navigation left={close} />
      </AppShell.Navbar>
      <AppShell.Main ref={content} tabIndex={-1}>
        <Outlet />
      </AppShell.Main>
      <Palette />
    </AppShell>
  );
}
