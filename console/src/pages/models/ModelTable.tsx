import { Badge, Group, Select, Stack, Text, TextInput } from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useState } from "react";
import type { ModelShown } from "@/client";
import { listModelsOptions } from "@/client/@tanstack/react-query.gen";
import { compact, duration, whole } from "@/parts/amounts";
import { State } from "@/parts/Badges";
import { Share } from "@/parts/Share";
import { Spark } from "@/parts/Spark";
import { Empty, Loaded } from "@/parts/states";
import { type Column, Table } from "@/parts/Table";
import { Span, useSpan } from "./Span";
import { type Traffic, trafficKey, useTraffic } from "./traffic";

const route = getRouteApi("/models");
const SHOWN_MAX = 200;

function columnsOf(traffic: ReadonlyMap<string, Traffic> | undefined): Column<ModelShown>[] {
  const of = (model: ModelShown) => traffic?.get(trafficKey(model.provider, model.upstream_name));
  return [
    {
      title: "Model",
      cell: (model) => (
        <Stack gap={0}>
          <Text size="sm" fw={600}>
            {model.id}
          </Text>
          <Text size="xs" c="dimmed">
            {model.provider} · {model.origin}
          </Text>
        </Stack>
      ),
    },
    { title: "Health", cell: (model) => <State word={model.enabled ? model.health : "disabled"} /> },
    {
      title: "Tiers",
      cell: (model) => (
        <Group gap={4} wrap="nowrap">
          <Badge size="sm" variant="default" tt="none">
            {model.cost_tier}
          </Badge>
          <Badge size="sm" variant="default" tt="none">
            {model.latency_tier}
          </Badge>
        </Group>
      ),
    },
    { title: "In, $ / 1M", right: true, cell: (model) => model.price.input_usd_per_million ?? "no price" },
    { title: "Out, $ / 1M", right: true, cell: (model) => model.price.output_usd_per_million ?? "no price" },
    { title: "Context", right: true, cell: (model) => compact(model.context_window) },
    {
      title: "Share of calls",
      cell: (model) => (
        <Share value={of(model)?.callShare ?? (traffic ? 0 : null)} label={`Share of calls of ${model.id}`} />
      ),
    },
    {
      title: "Calls",
      right: true,
      cell: (model) => (traffic ? whole(of(model)?.calls ?? 0) : "–"),
    },
    { title: "p50", right: true, cell: (model) => duration(of(model)?.p50) },
    { title: "p95", right: true, cell: (model) => duration(of(model)?.p95) },
    {
      title: "Course",
      cell: (model) => <Spark points={of(model)?.points ?? []} label={`Course of ${model.id}`} />,
    },
  ];
}

/** Every model: its health, tiers and price, and its share of the traffic. The busiest come first. */
export function ModelTable() {
  const models = useQuery(listModelsOptions());
  const traffic = useTraffic(useSpan());
  const { provider } = route.useSearch();
  const navigate = route.useNavigate();
  const [sought, setSought] = useState("");
  const word = sought.trim().toLowerCase();
  const calls = (model: ModelShown) =>
    traffic?.get(trafficKey(model.provider, model.upstream_name))?.calls ?? 0;
  return (
    <Stack>
      <Group gap="xs">
        <Span />
        <TextInput
          size="xs"
          aria-label="Find a model"
          placeholder="Find a model"
          leftSection={<IconSearch size={14} />}
          value={sought}
          onChange={(event) => setSought(event.currentTarget.value)}
        />
        <Select
          size="xs"
          aria-label="Provider"
          placeholder="All providers"
          clearable
          data={[...new Set(models.data?.items.map((each) => each.provider))]}
          value={provider ?? null}
          onChange={(next) =>
            void navigate({
              search: ({ provider: _, ...rest }) => (next === null ? rest : { ...rest, provider: next }),
            })
          }
        />
      </Group>
      <Loaded query={models} height={300}>
        {(found) => {
          const rows = found.items
            .filter((each) => provider === undefined || each.provider === provider)
            .filter((each) => each.id.toLowerCase().includes(word))
            .sort((one, other) => calls(other) - calls(one) || one.id.localeCompare(other.id));
          if (rows.length === 0) {
            return (
              <Empty title="No such model">
                Look for less of its name, or take it into the configuration under <code>[[models]]</code>.
              </Empty>
            );
          }
          return (
            <>
              <Table
                label="Models"
                columns={columnsOf(traffic)}
                rows={rows.slice(0, SHOWN_MAX)}
                rowKey={(model) => trafficKey(model.provider, model.id)}
              />
              {rows.length > SHOWN_MAX && (
                <Text size="sm" c="dimmed">
                  {whole(rows.length - SHOWN_MAX)} more; look for a part of their name.
                </Text>
              )}
            </>
          );
        }}
      </Loaded>
    </Stack>
  );
}
