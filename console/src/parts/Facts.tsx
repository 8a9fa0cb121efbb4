import { SimpleGrid, Stack, Text } from "@mantine/core";
import { Children, type ReactNode } from "react";

/** One thing that is known: its name, and what it is. */
export function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <Stack gap={0} component="div">
      <Text component="dt" size="xs" c="dimmed">
        {name}
      </Text>
      <Text component="dd" m={0} size="sm">
        {children}
      </Text>
    </Stack>
  );
}

/** What is known of something, in columns that the width allows. */
export function Facts({ columns = 4, children }: { columns?: number; children: ReactNode }) {
  return (
    <SimpleGrid
      component="dl"
      m={0}
      cols={{ base: 2, sm: Math.min(columns, Children.count(children)) }}
      spacing="sm"
    >
      {children}
    </SimpleGrid>
  );
}
