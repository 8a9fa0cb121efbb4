import type { DecisionShown, DecisionWhole } from "@/client";

/** What happened to a call, in the words of `palyra explain`. */
export function headline(decision: DecisionShown): string {
  const who = decision.principal + (decision.agent ? ` (${decision.agent})` : "");
  const call = `The call of ${who} to ${decision.requested_model}`;
  if (decision.state === "denied") {
    const verb = decision.outcome === "ask" ? "needs an approval" : "was refused";
    return `${call} ${verb}: ${decision.message || decision.error_code || decision.status}`;
  }
  return `${call} was admitted in ${decision.mode} mode${servedBy(decision)}; ${ending(decision)}${elsewhere(decision)}`;
}

function servedBy(decision: DecisionWhole): string {
  if (!decision.model || decision.model === decision.requested_model) return "";
  return ` and served by ${decision.model} (${decision.route}: ${decision.route_reason})`;
}

function elsewhere(decision: DecisionShown): string {
  const last = decision.continued_as.at(-1);
  if (last === undefined) return "";
  if (last.state === "denied") {
    return ` It could not be taken up elsewhere: ${last.message || last.error_code}`;
  }
  return ` It was taken up by ${last.model} at ${last.provider}: ${ending(last)}`;
}

function exact(usd: string | null): string {
  return usd === null ? "unknown" : `${usd} USD`;
}

function ending(decision: DecisionWhole): string {
  const end = decision.settlement;
  if (end === null) return "it is still running.";
  if (decision.state === "released") return `nothing was charged (${end.reason}).`;
  if (decision.state === "in_doubt") {
    return `its end is not known (${end.reason}), so the held ${exact(end.held_usd)} stands.`;
  }
  const overrun = end.overrun ? ", more than was held" : "";
  const estimated = end.source === "estimated" ? " (estimated)" : "";
  return `it cost ${exact(end.cost_usd)}${estimated}${overrun}.`;
}
