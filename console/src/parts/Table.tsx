import { Table as Grid, ScrollArea } from "@mantine/core";
import type { KeyboardEvent, MouseEvent, ReactNode } from "react";

/** A column: `right` for figures. `cell` says what a row shows in it. */
export interface Column<Row> {
  title: ReactNode;
  cell: (row: Row) => ReactNode;
  right?: boolean;
  width?: number | string;
}

/** Rows under titles; wider than the screen, it scrolls by itself. With `open`, a row is a way to more. */
export function Table<Row>({
  label,
  columns,
  rows,
  rowKey,
  open,
}: {
  label: string;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  rowKey: (row: Row) => string;
  open?: (row: Row) => void;
}) {
  const way = (row: Row) =>
    open && {
      className: "row-link",
      tabIndex: 0,
      onClick: (event: MouseEvent) => {
        if (!(event.target as HTMLElement).closest("a,button")) open(row);
      },
      onKeyDown: (event: KeyboardEvent) => {
        if (event.key === "Enter" && event.target === event.currentTarget) open(row);
      },
    };
  return (
    <ScrollArea type="auto" viewportProps={{ tabIndex: 0, role: "region", "aria-label": label }}>
      <Grid aria-label={label} verticalSpacing="xs" highlightOnHover={open !== undefined}>
        <Grid.Thead>
          <Grid.Tr>
            {columns.map((column, at) => (
              <Grid.Th
                // biome-ignore lint/suspicious/noArrayIndexKey: columns of a table do not move
                key={at}
                className={column.right ? "num" : "nowrap"}
                w={column.width}
              >
                {column.title}
              </Grid.Th>
            ))}
          </Grid.Tr>
        </Grid.Thead>
        <Grid.Tbody>
          {rows.map((row) => (
            <Grid.Tr key={rowKey(row)} data-row={rowKey(row)} {...way(row)}>
              {columns.map((column, at) => (
                // biome-ignore lint/suspicious/noArrayIndexKey: columns of a table do not move
                <Grid.Td key={at} className={column.right ? "num" : undefined}>
                  {column.cell(row)}
                </Grid.Td>
              ))}
            </Grid.Tr>
          ))}
        </Grid.Tbody>
      </Grid>
    </ScrollArea>
  );
}
