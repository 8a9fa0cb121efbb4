import type { InfiniteData } from "@tanstack/react-query";

interface Paged<Item> {
  items: Item[];
  next_cursor: string | null;
}

/** How a list of the API is read page by page; for `useInfiniteQuery`, beside the generated options. */
export const PAGED = {
  // An object, as the generated options take a text for a cursor.
  initialPageParam: {},
  getNextPageParam: (last: { next_cursor: string | null }) => last.next_cursor ?? undefined,
};

/** The items of all pages that were read so far. */
export function itemsOf<Item>(data: InfiniteData<Paged<Item>>): Item[] {
  return data.pages.flatMap((page) => page.items);
}
