import { notifications } from "@mantine/notifications";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { createContext, useContext } from "react";
import { ask, setCsrfToken } from "@/api/http";
import { ApiProblem, messageOf } from "@/api/problem";

/** What a subject may do, from least to most; each may do what those before it may. */
export const ROLES = ["caller", "viewer", "operator", "admin", "owner"] as const;
export type Role = (typeof ROLES)[number];

/** Who is signed in. */
export interface Session {
  principal: string;
  agent: string | null;
  key_id: string;
  roles: Role[];
  role: Role;
  signed_in_at: string | null;
  expires_at: string | null;
  csrf_token: string | null;
  version: string;
}

export const SESSION_KEY = ["session"];
/** Marks the sign-in itself: that a key is wrong does not say that a session has ended. */
export const ENTERING = { entering: true };

async function readSession(): Promise<Session> {
  const session = await ask<Session>("GET", "/session");
  setCsrfToken(session.csrf_token ?? "");
  return session;
}

/** The session of this browser; an ApiProblem with status 401 where nobody is signed in. */
export function useSessionQuery() {
  return useQuery({
    queryKey: SESSION_KEY,
    queryFn: readSession,
    retry: false,
    staleTime: 60_000,
    // The sign-in keeps what is typed while somebody fetches the key from another window.
    refetchOnWindowFocus: false,
    refetchOnReconnect: false,
  });
}

/** Signs in with a key. Throws ApiProblem. */
export async function signIn(key: string): Promise<Session> {
  const session = await ask<Session>("POST", "/session", { key });
  setCsrfToken(session.csrf_token ?? "");
  return session;
}

/** Ends the session, at the daemon and here. Says so where the daemon could not be told. */
export function useSignOut(): () => Promise<void> {
  const queries = useQueryClient();
  return async () => {
    try {
      await ask("DELETE", "/session");
    } catch (error) {
      if (!(error instanceof ApiProblem && error.signedOut)) {
        notifications.show({
          color: "red",
          title: "You are still signed in",
          message: messageOf(error),
          autoClose: 10_000,
        });
        return;
      }
    }
    setCsrfToken("");
    queries.clear();
    window.location.assign("/console/");
  };
}

export const SessionContext = createContext<Session | null>(null);

/** Who is signed in; only below the gate. */
export function useSession(): Session {
  const session = useContext(SessionContext);
  if (session === null) throw new Error("nobody is signed in");
  return session;
}

/** Whether who is signed in may act as `role`. */
export function useMay(role: Role): boolean {
  return ROLES.indexOf(useSession().role) >= ROLES.indexOf(role);
}
