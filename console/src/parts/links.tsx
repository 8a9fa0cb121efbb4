import {
  Anchor,
  type AnchorProps,
  Button,
  type ButtonProps,
  NavLink,
  type NavLinkProps,
} from "@mantine/core";
import { createLink } from "@tanstack/react-router";
import type { ComponentPropsWithRef } from "react";

type Plain<Props> = Props & Omit<ComponentPropsWithRef<"a">, keyof Props>;

function PlainAnchor(props: Plain<AnchorProps>) {
  return <Anchor {...props} />;
}

function PlainButton(props: Plain<ButtonProps>) {
  return <Button component="a" {...props} />;
}

function PlainItem(props: Plain<NavLinkProps>) {
  return <NavLink {...props} />;
}

/** A way to another page of the console: its address, parameters and filters are checked by the compiler. */
export const TextLink = createLink(PlainAnchor);

/** The same as a button. */
export const ButtonLink = createLink(PlainButton);

/** The same as an item of a list. */
export const ItemLink = createLink(PlainItem);
