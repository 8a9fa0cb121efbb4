import { Button, Code, Collapse, Stack } from "@mantine/core";
import { useState } from "react";

/** The document as the API gives it, behind a button. */
export function Raw({ document }: { document: unknown }) {
  const [shown, setShown] = useState(false);
  return (
    <Stack gap="xs" align="stretch">
      <div>
        <Button
          size="xs"
          variant="default"
          aria-expanded={shown}
          onClick={() => setShown((before) => !before)}
        >
          {shown ? "Hide the JSON" : "Show the JSON"}
        </Button>
      </div>
      <Collapse expanded={shown} keepMounted={false}>
        <Code
          block
          tabIndex={0}
          role="region"
          aria-label="The decision as JSON"
          mah={480}
          className="scrolls"
        >
          {JSON.stringify(document, null, 2)}
        </Code>
      </Collapse>
    </Stack>
  );
}
