"""What the demo plays: calls that pass, a stream, a clamp, a budget that runs out, and the explanation."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import httpx2
from rich.console import Console

from palyra.cli.model_server import MODEL
from palyra.cli.tables import print_table
from palyra.reports.page import explain_lines

CALL_S = 120.0
TRIES_MAX = 20
QUESTION = "What is a budget? Answer in one sentence."
SHOWN_HEADERS = (
    "x-palyra-outcome",
    "x-palyra-model",
    "x-palyra-estimated-cost-usd",
    "x-palyra-cost-usd",
    "x-palyra-budget-remaining",
    "x-palyra-budget-warning",
    "x-palyra-clamped-max-tokens",
)


class SceneFailed(Exception):
    """The daemon answered otherwise than the scene needs; the message shows the answer."""


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the scene: who made it, what came back."""

    title: str
    principal: str
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def request_id(self) -> str:
        """The id to ask ``palyra explain`` about."""
        return self.headers.get("x-palyra-request-id", "")

    def document(self) -> dict[str, object]:
        """The step as JSON."""
        shown = {name: self.headers[name] for name in SHOWN_HEADERS if name in self.headers}
        return {
            "title": self.title,
            "principal": self.principal,
            "status": self.status,
            "request_id": self.request_id,
            "text": self.text,
            "headers": shown,
        }


@dataclass(slots=True)
class Scene:
    """Plays against the daemon at ``url`` with one key per principal and prints to ``console``."""

    url: str
    owner_key: str
    keys: Mapping[str, str]
    console: Console
    steps: list[Step] = field(default_factory=list[Step])

    def play(self) -> None:
        """The whole scene. SceneFailed if a call does not do what the text says it does."""
        self._call("A call that its budget covers", "alice", QUESTION, 48)
        self._stream("The same as a stream", "alice", "Write one sentence about the sea.", 40)
        clamped = self._call("An agent that always asks for 64,000 tokens", "alice", QUESTION, 64_000)
        limit = clamped.headers.get("x-palyra-clamped-max-tokens")
        if limit is not None:
            self._say(
                f"  The hold did not fit. The output cap was lowered to {limit} tokens, and the call ran.\n"
            )
        denied = self._spend_until_denied("bob")
        self._explain(denied)
        self._usage()

    def _call(self, title: str, principal: str, prompt: str, max_tokens: int) -> Step:
        step = self._ask(title, principal, prompt, max_tokens)
        self._show(step)
        if step.status != 200:
            raise SceneFailed(f"{title}: expected an answer, got {step.status}: {step.text}")
        return step

    def _ask(self, title: str, principal: str, prompt: str, max_tokens: int) -> Step:
        answer = httpx2.post(
            f"{self.url}/v1/chat/completions",
            headers=_headers(self.keys[principal]),
            json=chat_body(prompt, max_tokens),
            timeout=CALL_S,
        )
        return Step(title, principal, answer.status_code, dict(answer.headers), _text(answer))

    def _stream(self, title: str, principal: str, prompt: str, max_tokens: int) -> None:
        body = {**chat_body(prompt, max_tokens), "stream": True}
        self._announce(title, principal)
        words: list[str] = []
        with httpx2.stream(
            "POST",
            f"{self.url}/v1/chat/completions",
            headers=_headers(self.keys[principal]),
            json=body,
            timeout=CALL_S,
        ) as answer:
            if answer.status_code != 200:
                raise SceneFailed(f"{title}: {answer.status_code}: {answer.read().decode()}")
            self._say("  ", end="")
            for line in answer.iter_lines():
                words.append(_delta(line))
                self._say(words[-1], "cyan", end="")
            step = Step(title, principal, answer.status_code, dict(answer.headers), "".join(words))
        self.steps.append(step)
        self._say("")
        self._show_headers(step)

    def _spend_until_denied(self, principal: str) -> Step:
        title = "A token budget that runs out"
        self._announce(title, principal)
        for number in range(1, TRIES_MAX + 1):
            step = self._ask(f"{title}, call {number}", principal, QUESTION, 40)
            self.steps.append(step)
            left = step.headers.get("x-palyra-budget-remaining", "-")
            self._say(f"  call {number}: {step.status}  remaining: {left}")
            if step.status == 402:
                self._say(json.dumps(json.loads(step.text), indent=2) + "\n", "yellow")
                return step
            if step.status != 200:
                raise SceneFailed(f"{title}: {step.status}: {step.text}")
        raise SceneFailed(f"{title}: no call was refused in {TRIES_MAX}")

    def _explain(self, step: Step) -> None:
        document = self._get(f"/decisions/{step.request_id}")
        self._say(f"Why? (palyra explain {step.request_id})", "bold")
        self._say("\n".join(explain_lines(document)) + "\n")

    def _usage(self) -> None:
        document = self._get("/usage/summary?group_by=principal,agent,model")
        self._say("Usage so far", "bold")
        labels, counts = document["group_by"], ("requests", "denied", "input_tokens", "output_tokens")
        rows = [
            (
                *(group["group"].get(name) or "-" for name in labels),
                *(str(group[name]) for name in counts),
                group["cost_usd"],
            )
            for group in document["groups"]
            if group["group"]["principal"] in self.keys
        ]
        titles = (*labels, *(f">{name.replace('_', ' ')}" for name in counts), ">USD")
        print_table(self.console, titles, rows)
        self._say("")

    def _get(self, path: str) -> Mapping[str, Any]:
        answer = httpx2.get(f"{self.url}/api/v1{path}", headers=_headers(self.owner_key), timeout=30.0)
        if answer.status_code != 200:
            raise SceneFailed(f"GET {path}: {answer.status_code}: {answer.text}")
        return cast("Mapping[str, Any]", answer.json())

    def _show(self, step: Step) -> None:
        self.steps.append(step)
        self._announce(step.title, step.principal)
        self._say(f"  {step.text}", "cyan")
        self._show_headers(step)

    def _announce(self, title: str, principal: str) -> None:
        self._say(f"{title} ({principal})", "bold")

    def _show_headers(self, step: Step) -> None:
        for name in SHOWN_HEADERS:
            if name in step.headers:
                self._say(f"  {name}: {step.headers[name]}", "dim")
        self._say("")

    def _say(self, text: str, style: str = "", end: str = "\n") -> None:
        """Print text as it is: an answer of a model is no markup, and lines stay whole for copying."""
        self.console.print(text, style=style, end=end, markup=False, highlight=False, soft_wrap=True)


def chat_body(prompt: str, max_tokens: int) -> dict[str, object]:
    """A chat request for the demo model that always gets the same answer."""
    messages = [{"role": "user", "content": prompt}]
    return {"model": MODEL, "messages": messages, "max_tokens": max_tokens, "temperature": 0}


def _headers(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def _text(answer: httpx2.Response) -> str:
    if answer.status_code != 200:
        return answer.text
    return answer.json()["choices"][0]["message"]["content"].strip()


def _delta(line: str) -> str:
    if not line.startswith("data: {"):
        return ""
    event: dict[str, Any] = json.loads(line.removeprefix("data: "))
    choices: list[dict[str, Any]] = event.get("choices") or []
    return choices[0]["delta"].get("content") or "" if choices else ""
