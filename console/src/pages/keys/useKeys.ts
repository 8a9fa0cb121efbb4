import { useInfiniteQuery } from "@tanstack/react-query";
import { useEffect } from "react";
import { listKeysInfiniteOptions } from "@/client/@tanstack/react-query.gen";
import { PAGED } from "@/parts/pages";

/** All keys, read one page after the other: they are looked through here, and told newest first. */
export function useKeys() {
  const query = useInfiniteQuery({ ...listKeysInfiniteOptions(), ...PAGED });
  const { hasNextPage, isFetching, fetchNextPage } = query;
  useEffect(() => {
    if (hasNextPage && !isFetching) void fetchNextPage();
  }, [hasNextPage, isFetching, fetchNextPage]);
  return query;
}
