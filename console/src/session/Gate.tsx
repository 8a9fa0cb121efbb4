import { Center, Loader } from "@mantine/core";
import type { ReactNode } from "react";
import { ApiProblem } from "@/api/problem";
import { Failure } from "@/parts/states";
import { SignIn } from "./SignIn";
import { SessionContext, useSessionQuery } from "./session";

/** Shows `children` to who is signed in, and the sign-in to everybody else. */
export function Gate({ children }: { children: ReactNode }) {
  const session = useSessionQuery();
  // What the session was is still there when it has ended.
  if (session.error instanceof ApiProblem && session.error.signedOut) return <SignIn />;
  if (session.data) return <SessionContext value={session.data}>{children}</SessionContext>;
  if (session.isPending) {
    return (
      <Center h="100vh">
        <Loader aria-label="Loading" />
      </Center>
    );
  }
  return (
    <Center h="100vh" p="md">
      <Failure error={session.error} retry={() => void session.refetch()} />
    </Center>
  );
}
