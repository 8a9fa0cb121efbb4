import { Button, Card, Group, NativeSelect, SimpleGrid, TextInput } from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";
import { type FormEvent, useState } from "react";
import { ApiProblem } from "@/api/problem";
import { textsOf } from "@/parts/period";
import { type DecisionsSearch, OUTCOMES, STATES, WANTED, type Wanted } from "./search";

type Texts = Partial<Record<Wanted, string>>;

const FIELDS: { name: Wanted; label: string; placeholder: string }[] = [
  { name: "session", label: "Session", placeholder: "Its exact name" },
  { name: "tag", label: "Tag", placeholder: "team:platform" },
  { name: "status", label: "Status", placeholder: "blocked, or 503" },
  { name: "min_cost", label: "Cost at least (USD)", placeholder: "0.05" },
  { name: "request_id", label: "Request id", placeholder: "How it begins" },
];
const CHOICES: { name: Wanted; label: string; words: readonly string[] }[] = [
  { name: "outcome", label: "Outcome", words: OUTCOMES },
  { name: "state", label: "State", words: STATES },
];

/** What calls are looked for by, beside the period and names. A field that the API refuses says why. */
export function SearchForm({
  search,
  error,
  change,
}: {
  search: DecisionsSearch;
  error: unknown;
  change: (wanted: Texts) => void;
}) {
  const asked = textsOf({ ...search }, WANTED);
  const [texts, setTexts] = useState<Texts>(asked);
  const set = (name: Wanted, text: string) => setTexts((before) => ({ ...before, [name]: text }));
  const wrong = (name: Wanted) =>
    error instanceof ApiProblem && error.field === name ? error.message : null;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    change(Object.fromEntries(Object.entries(texts).filter(([, text]) => text.trim() !== "")));
  };
  return (
    <Card withBorder padding="md" component="section" aria-label="Look for calls">
      <form onSubmit={submit}>
        <SimpleGrid cols={{ base: 2, sm: 4 }} spacing="sm">
          {FIELDS.map(({ name, label, placeholder }) => (
            <TextInput
              key={name}
              size="xs"
              label={label}
              placeholder={placeholder}
              value={texts[name] ?? ""}
              error={wrong(name)}
              onChange={(event) => set(name, event.currentTarget.value)}
            />
          ))}
          {CHOICES.map(({ name, label, words }) => (
            <NativeSelect
              key={name}
              size="xs"
              label={label}
              value={texts[name] ?? ""}
              data={[
                { value: "", label: "Any" },
                ...words.map((value) => ({ value, label: value.replaceAll("_", " ") })),
              ]}
              onChange={(event) => set(name, event.currentTarget.value)}
            />
          ))}
          <NativeSelect
            size="xs"
            label="Ran elsewhere than asked"
            value={texts.rerouted ?? ""}
            data={[
              { value: "", label: "Any" },
              { value: "true", label: "yes" },
              { value: "false", label: "no" },
            ]}
            onChange={(event) => set("rerouted", event.currentTarget.value)}
          />
        </SimpleGrid>
        <Group mt="sm" gap="xs">
          <Button type="submit" size="xs" leftSection={<IconSearch size={14} />}>
            Search
          </Button>
          {Object.keys(asked).length > 0 && (
            <Button
              size="xs"
              variant="default"
              onClick={() => {
                setTexts({});
                change({});
              }}
            >
              Clear
            </Button>
          )}
        </Group>
      </form>
    </Card>
  );
}
