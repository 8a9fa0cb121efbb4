/** What the control plane says when it refuses: a problem document (RFC 9457). */
export class ApiProblem extends Error {
  readonly status: number;
  readonly code: string;
  readonly field: string | null;

  constructor(status: number, code: string, detail: string, field: string | null = null) {
    super(detail);
    this.name = "ApiProblem";
    this.status = status;
    this.code = code;
    this.field = field;
  }

  /** Nobody is signed in, or not any more. */
  get signedOut(): boolean {
    return this.status === 401;
  }
}

/** Reads a problem from what a failed request gave: a document, a text, or nothing at all. */
export function problemOf(error: unknown, status: number): ApiProblem {
  if (error instanceof ApiProblem) return error;
  if (typeof error === "object" && error !== null && "detail" in error) {
    const found = error as { detail: unknown; code?: unknown; field?: unknown };
    return new ApiProblem(
      status,
      String(found.code ?? "unknown"),
      String(found.detail),
      typeof found.field === "string" ? found.field : null,
    );
  }
  if (status === 0 || error instanceof TypeError) {
    return new ApiProblem(
      0,
      "unreachable",
      "The daemon does not answer. Look whether it runs, and try again.",
    );
  }
  return new ApiProblem(status, "unknown", `The daemon answered with status ${status}.`);
}

/** A sentence about any error. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
