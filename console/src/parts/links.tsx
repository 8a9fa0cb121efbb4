import { Anchor, type AnchorProps, Button, type ButtonProps } from "@mantine/core";
import { createLink } from "@tanstack/react-router";
import { type ComponentProps, forwardRef } from "react";

type Native = Omit<ComponentProps<"a">, "color" | "ref" | "style">;

/** A link to a page of the console, with what its address says checked by type. */
export const WayTo = createLink(
  forwardRef<HTMLAnchorElement, AnchorProps & Native>((props, ref) => <Anchor ref={ref} {...props} />),
);

/** The same, as a button. */
export const ButtonTo = createLink(
  forwardRef<HTMLAnchorElement, ButtonProps & Native>((props, ref) => (
    <Button component="a" ref={ref} {...props} />
  )),
);
