import {
  Alert,
  Button,
  Card,
  Grid,
  NumberInput,
  Select,
  SimpleGrid,
  Stack,
  Text,
  Textarea,
  TextInput,
} from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { messageOf } from "@/api/problem";
import type { Mode, ModelQuestion } from "@/client";
import { explainCallMutation, listModelsOptions } from "@/client/@tanstack/react-query.gen";
import { useSession } from "@/session/session";
import { Explained } from "./Explained";

const MODES = [
  { value: "suggest", label: "Suggest" },
  { value: "dry_run", label: "Dry run" },
  { value: "enforced", label: "Enforced" },
];

/** Asks what a call would get now: its price, its model, its budgets. Nothing is sent, and nothing is held. */
export function Playground() {
  const session = useSession();
  const models = useQuery(listModelsOptions());
  const [prompt, setPrompt] = useState("Summarise the meeting in three sentences.");
  const [model, setModel] = useState("auto");
  const [most, setMost] = useState<number | string>(500);
  const [principal, setPrincipal] = useState(session.principal);
  const [agent, setAgent] = useState("");
  const [mode, setMode] = useState<string | null>(null);
  const asking = useMutation(explainCallMutation());
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const body: ModelQuestion = { prompt, model, principal: principal.trim() };
    if (typeof most === "number") body.max_tokens = most;
    if (agent.trim() !== "") body.agent = agent.trim();
    if (mode !== null) body.mode = mode as Mode;
    asking.mutate({ body });
  };
  const names = models.data?.items.filter((each) => each.enabled).map((each) => each.id) ?? [];
  return (
    <Grid gap="lg">
      <Grid.Col span={{ base: 12, md: 5 }}>
        <Card withBorder component="form" onSubmit={submit} aria-label="A call to explain">
          <Stack>
            <Text size="sm" c="dimmed">
              What would a call get now? Nothing is sent to a provider, and nothing is held.
            </Text>
            <Textarea
              label="Prompt"
              autosize
              minRows={3}
              maxRows={12}
              required
              value={prompt}
              onChange={(event) => setPrompt(event.currentTarget.value)}
            />
            <SimpleGrid cols={{ base: 1, xs: 2 }}>
              <Select
                label="Model"
                description="auto: let Palyra choose"
                searchable
                allowDeselect={false}
                data={["auto", ...new Set(names)]}
                limit={100}
                value={model}
                onChange={(next) => setModel(next ?? "auto")}
              />
              <NumberInput
                label="Output tokens at most"
                description="Empty: what the model can"
                min={1}
                allowDecimal={false}
                value={most}
                onChange={setMost}
              />
              <TextInput
                label="Principal"
                required
                value={principal}
                onChange={(event) => setPrincipal(event.currentTarget.value)}
                readOnly={session.role === "caller"}
              />
              <TextInput
                label="Agent"
                value={agent}
                onChange={(event) => setAgent(event.currentTarget.value)}
              />
            </SimpleGrid>
            <Select
              label="Mode"
              placeholder="As the configuration says"
              clearable
              data={MODES}
              value={mode}
              onChange={setMode}
            />
            <Button type="submit" loading={asking.isPending}>
              Explain
            </Button>
          </Stack>
        </Card>
      </Grid.Col>
      <Grid.Col span={{ base: 12, md: 7 }}>
        {asking.error && (
          <Alert color="red" role="alert" title="It would get no decision">
            {messageOf(asking.error)}
          </Alert>
        )}
        {asking.data && <Explained found={asking.data} />}
        {!asking.data && !asking.error && (
          <Text size="sm" c="dimmed">
            The answer shows here: whether it would run and on which model, what it would cost at most, and
            how much room its budgets have.
          </Text>
        )}
      </Grid.Col>
    </Grid>
  );
}
