import {
  Alert,
  Anchor,
  Button,
  Center,
  Code,
  Group,
  Paper,
  PasswordInput,
  Stack,
  Text,
  Title,
} from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { messageOf } from "@/api/problem";
import { Logo } from "@/frame/Logo";
import { ENTERING, SESSION_KEY, signIn } from "./session";

/** Takes a key, and leaves a session in this browser. The key itself is not kept. */
export function SignIn() {
  const queries = useQueryClient();
  const [key, setKey] = useState("");
  const entering = useMutation({
    mutationFn: () => signIn(key.trim()),
    meta: ENTERING,
    onSuccess: (session) => {
      setKey("");
      // Somebody else may have been signed in: nothing that was read for them is shown.
      queries.removeQueries({ predicate: (query) => query.queryKey[0] !== SESSION_KEY[0] });
      queries.setQueryData(SESSION_KEY, session);
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    entering.mutate();
  };
  return (
    <Center mih="100vh" p="md" component="main">
      <Paper withBorder shadow="sm" radius="md" p="xl" w="100%" maw={440}>
        <form onSubmit={submit}>
          <Stack gap="md">
            <Group gap="sm">
              <Logo size={34} />
              <Title order={1} size="h3">
                Palyra
              </Title>
            </Group>
            <Text c="dimmed" size="sm">
              Sign in with a key of Palyra. What you may see and do is what the key may.
            </Text>
            {/* Password managers file a key under a name. */}
            <input type="text" autoComplete="username" value="palyra" readOnly hidden />
            <PasswordInput
              label="Key"
              placeholder="sk-palyra-…"
              value={key}
              onChange={(event) => setKey(event.currentTarget.value)}
              autoComplete="current-password"
              autoFocus
              required
            />
            {entering.error && (
              <Alert color="red" title="Not signed in" role="alert">
                {messageOf(entering.error)}
              </Alert>
            )}
            <Button type="submit" loading={entering.isPending} disabled={key.trim() === ""}>
              Sign in
            </Button>
            <Text c="dimmed" size="xs">
              The first start of the daemon prints an owner key.{" "}
              <Code>palyra keys create --principal NAME --role viewer</Code> makes one that may only look. The
              session ends after some hours, or when its key is revoked.{" "}
              <Anchor href="/api/v1/openapi.json" size="xs" underline="always">
                API document
              </Anchor>
            </Text>
          </Stack>
        </form>
      </Paper>
    </Center>
  );
}
