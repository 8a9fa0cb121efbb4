import { Badge, NavLink } from "@mantine/core";
import { Link, useLocation } from "@tanstack/react-router";
import { useMay } from "@/session/session";
import { PLACES, type Place } from "./places";
import { useWaiting } from "./waiting";

function Way({ place, waiting, left }: { place: Place; waiting: string; left: () => void }) {
  const here = useLocation({ select: (location) => location.pathname.startsWith(place.to) });
  const may = useMay(place.role);
  if (!may) return null;
  return (
    <NavLink
      component={Link}
      to={place.to}
      label={place.label}
      active={here}
      aria-current={here ? "page" : undefined}
      leftSection={<place.icon size={18} stroke={1.7} aria-hidden />}
      rightSection={
        waiting && (
          <Badge size="sm" circle={waiting.length < 2} color="red.8" aria-label={`${waiting} waiting`}>
            {waiting}
          </Badge>
        )
      }
      onClick={left}
      variant="light"
    />
  );
}

/** The ways to all pages that the session's role may use. `left` is called when one is taken. */
export function Navigation({ left }: { left: () => void }) {
  const waiting = useWaiting();
  return (
    <>
      {PLACES.map((place) => (
        <Way key={place.to} place={place} waiting={waiting[place.to] ?? ""} left={left} />
      ))}
    </>
  );
}
