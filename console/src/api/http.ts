import { client } from "@/client/client.gen";
import { problemOf } from "./problem";

const SAFE = new Set(["GET", "HEAD", "OPTIONS"]);
let csrfToken = "";

/** Sets the token that goes with every request that changes something. */
export function setCsrfToken(token: string): void {
  csrfToken = token;
}

/** Makes the generated client send the session's token, and throw problems. Called once, at the start. */
export function setUpClient(): void {
  client.setConfig({ baseUrl: window.location.origin, credentials: "same-origin", throwOnError: true });
  client.interceptors.request.use((request) => {
    if (csrfToken && !SAFE.has(request.method)) request.headers.set("x-palyra-csrf", csrfToken);
    return request;
  });
  client.interceptors.error.use((error, response) => problemOf(error, response?.status ?? 0));
}

/** Asks the control plane for what the generated client has no good function for. Throws ApiProblem. */
export async function ask<Answer>(method: string, path: string, body?: unknown): Promise<Answer> {
  const headers = new Headers(body === undefined ? {} : { "content-type": "application/json" });
  if (csrfToken && !SAFE.has(method)) headers.set("x-palyra-csrf", csrfToken);
  let answer: Response;
  try {
    answer = await fetch(`/api/v1${path}`, {
      method,
      headers,
      credentials: "same-origin",
      body: body === undefined ? null : JSON.stringify(body),
    });
  } catch (error) {
    throw problemOf(error, 0);
  }
  const document: unknown = answer.status === 204 ? undefined : await answer.json().catch(() => undefined);
  if (!answer.ok) throw problemOf(document, answer.status);
  return document as Answer;
}
