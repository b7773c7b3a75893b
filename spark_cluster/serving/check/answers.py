"""A chat's answer, whole or streamed, read with care: a stranger wrote it, and nothing of it needs
to have the form that it should have."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from spark_cluster.core.printable import one_line
from spark_cluster.serving.api import Response, count_of, json_object, message_of

#: Characters of a stranger's text that are shown.
_SHOWN = 160

#: More tokens than this are no count of tokens.
_MOST_TOKENS = 10**8

_DONE = b"[DONE]"


@dataclass(frozen=True)
class Stream:
    """A streamed answer, as far as it was read.

    `events` are each one's data with the time at which it came, in seconds since the request was
    sent. `error` says why reading ended early, `body` is the beginning of what is no event.
    """

    status: int | None
    events: tuple[tuple[float, bytes], ...] = ()
    body: str = ""
    error: str = ""


@dataclass(frozen=True)
class Call:
    """A call of a function; `arguments` is JSON text if the server does it right."""

    name: str
    arguments: object


@dataclass(frozen=True)
class Message:
    """What an answer holds. `problem` says why it is none, or not a whole one; it is shown as it
    is. Tokens as the server counts them, 0 if it does not. `first` and `last` are the times of the
    chunks that carry something, in seconds, None if none did or the answer was not streamed."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[Call, ...] = ()
    finish: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    problem: str = ""
    status: int | None = None
    chunks: int = 0
    first: float | None = None
    last: float | None = None

    @property
    def is_cut(self) -> bool:
        """Whether it ended because its tokens were used up."""
        return self.finish == "length"


def quoted(text: str) -> str:
    """A stranger's text as it may be shown: one line, of bounded length, in which nothing acts."""
    shown = one_line(" ".join(text[: 4 * _SHOWN].split()))
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…"


def why(answer: Response) -> str:
    """Why an answer is none, as it may be shown; empty if it is one."""
    if answer.ok:
        return quoted(answer.error)
    return quoted(message_of(answer))


def read(answer: Response) -> Message:
    """What a whole answer holds."""
    problem = why(answer)
    if problem:
        return Message(problem=problem, status=answer.status)
    found = json_object(answer.body)
    choice = _first_choice(found)
    message = choice.get("message")
    if not isinstance(message, dict):
        problem = f"HTTP 200 with no message in it: {quoted(answer.body) or 'nothing'}"
        return Message(problem=problem, status=answer.status)
    content = message.get("content")
    if content is not None and not isinstance(content, str):
        problem = f"content is no text: it is of the kind {type(content).__name__}"
    return Message(
        text=_text(content),
        reasoning=_reasoning(message),
        calls=tuple(_calls(message.get("tool_calls"))),
        finish=_text(choice.get("finish_reason")),
        prompt_tokens=_tokens(found, "prompt_tokens"),
        completion_tokens=_tokens(found, "completion_tokens"),
        problem=problem,
        status=answer.status,
    )


def read_stream(heard: Stream) -> Message:
    """What a streamed answer holds; `problem` is the first thing that is wrong with its form."""
    if heard.status != 200:
        problem = why(Response(heard.status, heard.body, heard.error))
        return Message(problem=problem, status=heard.status)
    parts: list[str] = []
    thoughts: list[str] = []
    times: list[float] = []
    finish, prompted, completed, problem, done = "", 0, 0, "", False
    for moment, data in heard.events:
        if data == _DONE:
            done = True
            continue
        problem = problem or _event_problem(data, done=done)
        found = json_object(data.decode(errors="replace"))
        choice = _first_choice(found)
        delta = choice.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        text, thought = _text(delta.get("content")), _reasoning(delta)
        if text or thought or delta.get("tool_calls"):
            times.append(moment)
        parts.append(text)
        thoughts.append(thought)
        finish = _text(choice.get("finish_reason")) or finish
        prompted = _tokens(found, "prompt_tokens") or prompted
        completed = _tokens(found, "completion_tokens") or completed
    if not problem and heard.error:
        problem = f"{quoted(heard.error)} after {len(heard.events)} events"
    if not problem and not heard.events:
        problem = f"no event came: {quoted(heard.body) or 'the stream is empty'}"
    if not problem and not done:
        problem = "the stream ended without [DONE]"
    return Message(
        text="".join(parts),
        reasoning="".join(thoughts),
        finish=finish,
        prompt_tokens=prompted,
        completion_tokens=completed,
        problem=problem,
        status=heard.status,
        chunks=len(times),
        first=times[0] if times else None,
        last=times[-1] if times else None,
    )


def has_begun(data: bytes) -> bool:
    """Whether an event is more than the empty chunk that opens a chat."""
    delta = _first_choice(json_object(data.decode(errors="replace"))).get("delta")
    return isinstance(delta, dict) and any(
        delta.get(name) for name in ("content", "reasoning", "reasoning_content", "tool_calls")
    )


def _event_problem(data: bytes, *, done: bool) -> str:
    text = data.decode(errors="replace")
    if done:
        return f"after [DONE] came {quoted(text)}"
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return f"an event is not JSON: {quoted(text)}"
    if not isinstance(found, dict):
        return f"an event is no object: {quoted(text)}"
    error = found.get("error")
    if error:
        said = error.get("message") if isinstance(error, dict) else error
        return f"the stream broke off: {quoted(_text(said) or text)}"
    return ""


def _first_choice(found: Mapping[str, object]) -> dict[str, object]:
    choices = found.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _reasoning(message: Mapping[str, object]) -> str:
    return _text(message.get("reasoning")) or _text(message.get("reasoning_content"))


def _calls(value: object) -> Iterator[Call]:
    for entry in value if isinstance(value, list) else ():
        function = entry.get("function") if isinstance(entry, dict) else None
        if isinstance(function, dict):
            yield Call(_text(function.get("name")), function.get("arguments"))


def _tokens(found: Mapping[str, object], name: str) -> int:
    count = count_of(found.get("usage"), name)
    return count if count <= _MOST_TOKENS else 0
