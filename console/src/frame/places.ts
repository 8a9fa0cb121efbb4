import {
  IconAdjustments,
  IconBell,
  IconBulb,
  IconChartBar,
  IconCpu,
  IconDownload,
  IconKey,
  IconListSearch,
  IconShieldCheck,
  IconUserCheck,
} from "@tabler/icons-react";
import type { Role } from "@/session/session";

/** The pages of the console, in the order of the navigation; `role` is the least that can use one. */
export const PLACES = [
  {
    to: "/usage",
    label: "Usage",
    icon: IconChartBar,
    role: "caller",
    about: "Spend, tokens, calls, latency",
  },
  {
    to: "/insights",
    label: "Insights",
    icon: IconBulb,
    role: "caller",
    about: "What needs attention, and why",
  },
  {
    to: "/budgets",
    label: "Budgets",
    icon: IconAdjustments,
    role: "viewer",
    about: "Limits and what is left",
  },
  { to: "/approvals", label: "Approvals", icon: IconUserCheck, role: "caller", about: "Who asks for more" },
  {
    to: "/models",
    label: "Models",
    icon: IconCpu,
    role: "viewer",
    about: "Health, prices, routing, playground",
  },
  { to: "/alerts", label: "Alerts", icon: IconBell, role: "caller", about: "What is wrong, or was" },
  {
    to: "/decisions",
    label: "Decisions",
    icon: IconListSearch,
    role: "viewer",
    about: "Every call, explained",
  },
  { to: "/keys", label: "Keys", icon: IconKey, role: "viewer", about: "Who may call" },
  { to: "/audit", label: "Audit", icon: IconShieldCheck, role: "viewer", about: "Who changed what; proof" },
  { to: "/export", label: "Export", icon: IconDownload, role: "caller", about: "CSV, JSON, FOCUS" },
] as const satisfies readonly { to: string; label: string; icon: unknown; role: Role; about: string }[];

export type Place = (typeof PLACES)[number];
