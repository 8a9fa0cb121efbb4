import type { KeyShown } from "@/client";
import type { KeysSearch } from "./search";

/** Whether a key is among those that an address asks for. */
function matches(key: KeyShown, { state = "live", q = "" }: KeysSearch): boolean {
  if (state === "live" && key.revoked_at !== null) return false;
  if (state === "revoked" && key.revoked_at === null) return false;
  const sought = q.trim().toLowerCase();
  if (sought === "") return true;
  const tags = Object.entries(key.tags).map(([name, value]) => `${name}=${value}`);
  const texts = [key.id, key.prefix, key.principal, key.agent ?? "", ...key.roles, ...key.models, ...tags];
  return texts.some((text) => text.toLowerCase().includes(sought));
}

/** The keys that an address asks for, the newest first. */
export function chosenOf(keys: readonly KeyShown[], search: KeysSearch): KeyShown[] {
  return keys.filter((key) => matches(key, search)).reverse();
}
