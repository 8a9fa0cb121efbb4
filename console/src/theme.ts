import { createTheme, Drawer, type MantineColorsTuple, Modal, Notification } from "@mantine/core";

const lagoon: MantineColorsTuple = [
  "#e3fafc",
  "#c5f0f5",
  "#99e0ea",
  "#66cddd",
  "#3bb6cb",
  "#1f9fb6",
  "#12869d",
  "#0b7285",
  "#095c6c",
  "#064551",
];

const CLOSE = { "aria-label": "Close" };

export const theme = createTheme({
  colors: { lagoon },
  primaryColor: "lagoon",
  primaryShade: 7,
  autoContrast: true,
  defaultRadius: "md",
  cursorType: "pointer",
  fontFamily:
    'Inter, ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif',
  fontFamilyMonospace: 'ui-monospace, "SF Mono", "JetBrains Mono", Menlo, Consolas, monospace',
  headings: { fontWeight: "650" },
  components: {
    Modal: Modal.extend({ defaultProps: { closeButtonProps: CLOSE } }),
    Drawer: Drawer.extend({ defaultProps: { closeButtonProps: CLOSE } }),
    Notification: Notification.extend({ defaultProps: { closeButtonProps: CLOSE } }),
  },
});

/** Colours of series, told apart in both themes and by the colour-blind; the last one is for all others. */
export const SERIES_COLORS = [
  "lagoon.6",
  "orange.6",
  "indigo.5",
  "grape.5",
  "lime.7",
  "pink.5",
  "yellow.7",
  "blue.5",
] as const;
export const OTHER_COLOR = "gray.5";
