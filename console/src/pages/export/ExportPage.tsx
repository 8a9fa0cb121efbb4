import {
  Button,
  Card,
  Code,
  CopyButton,
  Group,
  NativeSelect,
  SegmentedControl,
  SimpleGrid,
  Stack,
  Text,
} from "@mantine/core";
import { IconCheck, IconCopy, IconDownload } from "@tabler/icons-react";
import { getRouteApi } from "@tanstack/react-router";
import { useState } from "react";
import { useKnownNames } from "@/pages/usage/known";
import { FilterBar } from "@/parts/FilterBar";
import { Page } from "@/parts/Page";
import { filtersOf, NAMES } from "@/parts/period";
import { ownZone } from "@/parts/When";
import { curlLine, exportPath, exportQuery } from "./address";
import { Preview } from "./Preview";
import {
  BUCKETS,
  DATASETS,
  type Dataset,
  type ExportSearch,
  exportSearch,
  FORMATS,
  type Format,
} from "./search";

const route = getRouteApi("/export");
const FILE_WORDS: Record<Format, string> = {
  csv: "For spreadsheets. Text that begins like a formula gets an apostrophe in front, so that none is run.",
  json: "For programs. Amounts are integers of nano-USD beside decimal strings of USD.",
  focus:
    "Charges by the hour for tools of cloud cost, as the FinOps specification FOCUS 1.2 names them (CSV).",
};

type Change = (part: Partial<ExportSearch>) => void;

function Choices({ search, change }: { search: ExportSearch; change: Change }) {
  const format = search.format ?? "csv";
  const dataset = format === "focus" ? "hours" : (search.dataset ?? "timeline");
  return (
    <Stack gap="sm">
      <Group gap="sm" align="flex-end">
        <Stack gap={4}>
          <Text size="xs" fw={600} id="format-label">
            Format
          </Text>
          <SegmentedControl
            size="xs"
            aria-labelledby="format-label"
            value={format}
            data={Object.entries(FORMATS).map(([value, label]) => ({ value, label }))}
            onChange={(value) => change({ format: value as Format })}
          />
        </Stack>
      </Group>
      <Text size="sm" c="dimmed">
        {FILE_WORDS[format]}
      </Text>
      <SimpleGrid cols={{ base: 2, sm: 4 }} spacing="sm">
        <NativeSelect
          size="xs"
          label="What"
          value={dataset}
          disabled={format === "focus"}
          data={Object.entries(DATASETS).map(([value, { label }]) => ({ value, label }))}
          onChange={(event) => change({ dataset: event.currentTarget.value as Dataset })}
        />
        {dataset === "timeline" && (
          <>
            <NativeSelect
              size="xs"
              label="Period of a row"
              value={search.bucket ?? "auto"}
              data={[...BUCKETS]}
              onChange={(event) => change(exportSearch({ bucket: event.currentTarget.value }))}
            />
            <NativeSelect
              size="xs"
              label="Split by"
              value={search.by ?? ""}
              data={[{ value: "", label: "not split" }, ...NAMES]}
              onChange={(event) =>
                change({ by: undefined, ...exportSearch({ by: event.currentTarget.value }) })
              }
            />
            <NativeSelect
              size="xs"
              label="Time zone"
              value={search.zone ?? "own"}
              data={[
                { value: "own", label: ownZone() },
                { value: "utc", label: "UTC" },
              ]}
              onChange={(event) => change({ zone: event.currentTarget.value === "utc" ? "utc" : undefined })}
            />
          </>
        )}
      </SimpleGrid>
      <Text size="sm">A row is {DATASETS[dataset].row}.</Text>
    </Stack>
  );
}

function Ways({ query }: { query: Record<string, string> }) {
  const line = curlLine(window.location.origin, query);
  return (
    <Stack gap="sm">
      <Group gap="xs">
        <Button component="a" href={exportPath(query)} download leftSection={<IconDownload size={16} />}>
          Download
        </Button>
        <CopyButton value={line}>
          {({ copied, copy }) => (
            <Button
              variant="default"
              leftSection={copied ? <IconCheck size={16} /> : <IconCopy size={16} />}
              onClick={copy}
            >
              {copied ? "Copied" : "Copy the line for curl"}
            </Button>
          )}
        </CopyButton>
      </Group>
      <Code block tabIndex={0} role="region" aria-label="The line for curl" className="file">
        {line}
      </Code>
    </Stack>
  );
}

/** Usage as a file: of the period and names that the filters say. */
export function ExportPage() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const filters = filtersOf({ ...search });
  const [adding, setAdding] = useState(false);
  const known = useKnownNames(filters, adding);
  const query = exportQuery(search, ownZone());
  const change: Change = (part) =>
    void navigate({ search: (before) => exportSearch({ ...before, ...part }), resetScroll: false });
  return (
    <Page title="Export" about="Usage as a file, of what the filters show">
      <FilterBar
        filters={filters}
        change={(next) => {
          const rest = Object.entries(search).filter(([key]) => !(key in filters));
          void navigate({
            search: exportSearch({ ...Object.fromEntries(rest), ...next }),
            resetScroll: false,
          });
        }}
        known={known}
        adding={setAdding}
      />
      <Card withBorder padding="md">
        <Stack gap="md">
          <Choices search={search} change={change} />
          <Ways query={query} />
        </Stack>
      </Card>
      <Preview path={exportPath(query)} />
    </Page>
  );
}
