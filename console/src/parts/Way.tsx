import { Anchor, Button, NavLink } from "@mantine/core";
import { createLink } from "@tanstack/react-router";

/** Ways to pages of the console, with their parameters and searches checked: in a text, as a button, in a list. */
export const Way = createLink(Anchor<"a">);
export const WayButton = createLink(Button<"a">);
export const WayItem = createLink(NavLink<"a">);
