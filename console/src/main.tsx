import "@mantine/core/styles.css";
import "@mantine/charts/styles.css";
import "@mantine/dates/styles.css";
import "@mantine/notifications/styles.css";
import "@mantine/spotlight/styles.css";
import "./styles.css";

import { MantineProvider } from "@mantine/core";
import { Notifications } from "@mantine/notifications";
import { MutationCache, QueryCache, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { setUpClient } from "@/api/http";
import { ApiProblem } from "@/api/problem";
import { router } from "@/router";
import { Gate } from "@/session/Gate";
import { ENTERING, SESSION_KEY } from "@/session/session";
import { theme } from "@/theme";

const TRIES = 2;

setUpClient();

/** A refusal for want of a session leads back to the sign-in, whichever request met it. */
function notice(error: unknown): void {
  if (!(error instanceof ApiProblem)) return;
  if (error.signedOut) void queries.invalidateQueries({ queryKey: SESSION_KEY });
  // Another window of this browser has signed in: what is shown may be for somebody else.
  if (error.code === "csrf_token") void queries.resetQueries();
}

const queries: QueryClient = new QueryClient({
  queryCache: new QueryCache({
    onError: (error, query) => {
      if (query.queryKey[0] !== SESSION_KEY[0]) notice(error);
    },
  }),
  mutationCache: new MutationCache({
    onError: (error, _sent, _before, mutation) => {
      if (mutation.meta !== ENTERING) notice(error);
    },
  }),
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      // A refusal stays one, however often it is asked for.
      retry: (count, error) => count < TRIES && !(error instanceof ApiProblem && error.status in REFUSALS),
    },
  },
});

const REFUSALS: Record<number, true> = {
  400: true,
  401: true,
  403: true,
  404: true,
  409: true,
  412: true,
  422: true,
};
const nonce = document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.content ?? "";
// Dialogs lock the page behind them by a style of their own; they look for the nonce under this name.
Object.assign(globalThis, { __webpack_nonce__: nonce });
const place = document.getElementById("root");
if (place === null) throw new Error("the page has no place for the console");

createRoot(place).render(
  <StrictMode>
    <MantineProvider theme={theme} defaultColorScheme="auto" getStyleNonce={() => nonce}>
      <QueryClientProvider client={queries}>
        <Notifications position="top-right" />
        <Gate>
          <RouterProvider router={router} />
        </Gate>
      </QueryClientProvider>
    </MantineProvider>
  </StrictMode>,
);
