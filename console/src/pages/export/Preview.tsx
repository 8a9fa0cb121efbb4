import { Card, Code, Stack, Text, Title } from "@mantine/core";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { beginningOf } from "@/api/beginning";
import { Loaded } from "@/parts/states";

const SHOWN = 3_000;
const LINES = 12;

/** How the file begins: its columns, and its first rows. */
export function Preview({ path }: { path: string }) {
  const query = useQuery({
    queryKey: ["exportPreview", path],
    queryFn: ({ signal }) => beginningOf(path, SHOWN, signal),
    placeholderData: keepPreviousData,
  });
  return (
    <Card withBorder padding="md" component="section" aria-label="How the file begins">
      <Stack gap="sm">
        <Title order={2} size="h4">
          How the file begins
        </Title>
        <Loaded query={query} height={200}>
          {({ text, whole }) => {
            const lines = text.split(/\r?\n/).filter((line) => line !== "");
            const cut = !whole || lines.length > LINES;
            return (
              <>
                <Code block tabIndex={0} role="region" aria-label="The first lines" className="file">
                  {lines.slice(0, LINES).join("\n")}
                </Code>
                <Text size="sm" c="dimmed">
                  {cut ? "More follows in the file." : "This is the whole file."}
                </Text>
              </>
            );
          }}
        </Loaded>
      </Stack>
    </Card>
  );
}
