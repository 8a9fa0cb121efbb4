import { Tabs } from "@mantine/core";
import { getRouteApi } from "@tanstack/react-router";
import { Page } from "@/parts/Page";
import { ModelTable } from "./ModelTable";
import { Playground } from "./Playground";
import { Providers } from "./Providers";
import { RoutingReport } from "./RoutingReport";
import { VIEWS, type View } from "./search";

const route = getRouteApi("/models");
const LABELS: Record<View, string> = {
  providers: "Providers",
  models: "Models",
  routing: "Routing report",
  playground: "Playground",
};

/** Models: how their providers do, what they cost, what routing saved, and what a call would get. */
export function ModelsPage() {
  const { view = "providers" } = route.useSearch();
  const navigate = route.useNavigate();
  return (
    <Page title="Models" about="Providers and their health, models and their prices, and how they are chosen">
      <Tabs
        value={view}
        keepMounted={false}
        onChange={(next) => void navigate({ search: (before) => ({ ...before, view: next as View }) })}
      >
        <Tabs.List mb="md">
          {VIEWS.map((each) => (
            <Tabs.Tab key={each} value={each}>
              {LABELS[each]}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        <Tabs.Panel value="providers">
          <Providers />
        </Tabs.Panel>
        <Tabs.Panel value="models">
          <ModelTable />
        </Tabs.Panel>
        <Tabs.Panel value="routing">
          <RoutingReport />
        </Tabs.Panel>
        <Tabs.Panel value="playground">
          <Playground />
        </Tabs.Panel>
      </Tabs>
    </Page>
  );
}
