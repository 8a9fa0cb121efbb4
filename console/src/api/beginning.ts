import { problemOf } from "./problem";

/**
 * The first lines of a file of the API, at most `bytes` of it, each of them whole; and whether that is all.
 * The rest is not read. Throws ApiProblem.
 */
export async function beginningOf(
  path: string,
  bytes: number,
  signal: AbortSignal,
): Promise<{ text: string; whole: boolean }> {
  let answer: Response;
  try {
    answer = await fetch(path, { credentials: "same-origin", signal });
  } catch (error) {
    throw problemOf(error, 0);
  }
  if (!answer.ok) throw problemOf(await answer.json().catch(() => undefined), answer.status);
  const reader = answer.body?.getReader();
  const decoder = new TextDecoder();
  let text = "";
  while (reader !== undefined && text.length < bytes) {
    const { value, done } = await reader.read();
    if (done) return { text, whole: true };
    text += decoder.decode(value, { stream: true });
  }
  await reader?.cancel();
  return { text: text.slice(0, text.lastIndexOf("\n", bytes)), whole: false };
}
