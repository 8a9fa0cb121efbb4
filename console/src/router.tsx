import {
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
  redirect,
} from "@tanstack/react-router";
import { Frame } from "@/frame/Frame";
import { alertsSearch } from "@/pages/alerts/search";
import { approvalsSearch } from "@/pages/approvals/search";
import { auditSearch } from "@/pages/audit/search";
import { budgetSearch } from "@/pages/budgets/search";
import { decisionsSearch } from "@/pages/decisions/search";
import { exportSearch } from "@/pages/export/search";
import { insightsSearch } from "@/pages/insights/search";
import { keysSearch } from "@/pages/keys/search";
import { modelsSearch } from "@/pages/models/search";
import { sessionSearch, usageSearch } from "@/pages/usage/search";
import { TextLink } from "@/parts/links";
import { Page } from "@/parts/Page";
import { Empty, Failure, Loading } from "@/parts/states";

function Nowhere() {
  return (
    <Page title="Not found">
      <Empty title="There is no such page" action={<TextLink to="/usage">Go to usage</TextLink>} />
    </Page>
  );
}

const root = createRootRoute({ component: Frame, notFoundComponent: Nowhere });
const under = () => root;

const start = createRoute({
  getParentRoute: under,
  path: "/",
  beforeLoad: () => {
    throw redirect({ to: "/usage" });
  },
});

const usage = createRoute({
  getParentRoute: under,
  path: "/usage",
  validateSearch: usageSearch,
  component: lazyRouteComponent(() => import("@/pages/usage/UsagePage"), "UsagePage"),
});
const session = createRoute({
  getParentRoute: under,
  path: "/usage/sessions/$session",
  validateSearch: sessionSearch,
  component: lazyRouteComponent(() => import("@/pages/usage/SessionPage"), "SessionPage"),
});
const insights = createRoute({
  getParentRoute: under,
  path: "/insights",
  validateSearch: insightsSearch,
  component: lazyRouteComponent(() => import("@/pages/insights/InsightsPage"), "InsightsPage"),
});
const budgets = createRoute({
  getParentRoute: under,
  path: "/budgets",
  component: lazyRouteComponent(() => import("@/pages/budgets/BudgetsPage"), "BudgetsPage"),
});
const newBudget = createRoute({
  getParentRoute: under,
  path: "/budgets/new",
  component: lazyRouteComponent(() => import("@/pages/budgets/NewBudgetPage"), "NewBudgetPage"),
});
const budget = createRoute({
  getParentRoute: under,
  path: "/budgets/$id",
  validateSearch: budgetSearch,
  component: lazyRouteComponent(() => import("@/pages/budgets/BudgetPage"), "BudgetPage"),
});
const approvals = createRoute({
  getParentRoute: under,
  path: "/approvals",
  validateSearch: approvalsSearch,
  component: lazyRouteComponent(() => import("@/pages/approvals/ApprovalsPage"), "ApprovalsPage"),
});
const models = createRoute({
  getParentRoute: under,
  path: "/models",
  validateSearch: modelsSearch,
  component: lazyRouteComponent(() => import("@/pages/models/ModelsPage"), "ModelsPage"),
});
const alerts = createRoute({
  getParentRoute: under,
  path: "/alerts",
  validateSearch: alertsSearch,
  component: lazyRouteComponent(() => import("@/pages/alerts/AlertsPage"), "AlertsPage"),
});
const decisions = createRoute({
  getParentRoute: under,
  path: "/decisions",
  validateSearch: decisionsSearch,
  component: lazyRouteComponent(() => import("@/pages/decisions/DecisionsPage"), "DecisionsPage"),
});
const decision = createRoute({
  getParentRoute: under,
  path: "/decisions/$id",
  component: lazyRouteComponent(() => import("@/pages/decisions/DecisionPage"), "DecisionPage"),
});
const keys = createRoute({
  getParentRoute: under,
  path: "/keys",
  validateSearch: keysSearch,
  component: lazyRouteComponent(() => import("@/pages/keys/KeysPage"), "KeysPage"),
});
const audit = createRoute({
  getParentRoute: under,
  path: "/audit",
  validateSearch: auditSearch,
  component: lazyRouteComponent(() => import("@/pages/audit/AuditPage"), "AuditPage"),
});
const exporting = createRoute({
  getParentRoute: under,
  path: "/export",
  validateSearch: exportSearch,
  component: lazyRouteComponent(() => import("@/pages/export/ExportPage"), "ExportPage"),
});

export const router = createRouter({
  basepath: "/console",
  routeTree: root.addChildren([
    start,
    usage,
    session,
    insights,
    budgets,
    newBudget,
    budget,
    approvals,
    models,
    alerts,
    decisions,
    decision,
    keys,
    audit,
    exporting,
  ]),
  defaultPreload: "intent",
  defaultPendingComponent: () => <Loading height={240} />,
  defaultErrorComponent: ({ error, reset }) => <Failure error={error} retry={reset} />,
  scrollRestoration: true,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
