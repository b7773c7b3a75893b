"""Judges of the checks' answers: ok, failed or skipped, what came, and what to do next."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from spark_cluster.serving.api import Response
from spark_cluster.serving.check import bodies, remedies
from spark_cluster.serving.check.answers import (
    Call,
    Message,
    Stream,
    quoted,
    read,
    read_stream,
    why,
)
from spark_cluster.serving.check.schema import misfit

Result = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True)
class Judgement:
    """Of one check. `what` came, or why it was skipped; `next` says what to do about a failure,
    empty for the others. Tokens as the server counts them, 0 where it does not."""

    result: Result
    what: str = ""
    next: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Wants:
    """What a recipe promises: reasoning apart from the answer, and images. None: not known."""

    reasoning: bool | None = None
    images: bool | None = None


def skipped(reason: str) -> Judgement:
    """A check that does not apply."""
    return Judgement("skipped", reason)


def _ok(message: Message, what: str) -> Judgement:
    return _judged("ok", message, what, "")


def _failed(message: Message, what: str, remedy: str) -> Judgement:
    return _judged("failed", message, what, remedy)


def _judged(result: Result, message: Message, what: str, remedy: str) -> Judgement:
    return Judgement(result, what, remedy, message.prompt_tokens, message.completion_tokens)


def _broken(message: Message) -> Judgement:
    """A failure that has nothing to do with what was asked for."""
    return _failed(message, message.problem, remedies.of_status(message.status, message.problem))


# A plain answer


def chat(answer: Response) -> Judgement:
    """An answer with its usage."""
    return _whole(read(answer))


def stream(heard: Stream) -> Judgement:
    """An answer in events of JSON, with the usage that was asked for, and [DONE] at the end."""
    message = read_stream(heard)
    if not message.problem and message.chunks == 1 and message.completion_tokens > 8:
        what = f"{message.completion_tokens} tokens came in one event, not as they were made"
        return _failed(message, what, remedies.BUFFERED)
    return _whole(message)


def _whole(message: Message) -> Judgement:
    if message.problem:
        return _broken(message)
    if not _has_words(message):
        return _wordless(message)
    if not (message.prompt_tokens and message.completion_tokens):
        return _failed(message, "the answer has no usage", remedies.USAGE)
    return _ok(message, _words(message))


def _has_words(message: Message) -> bool:
    """Whether it answered; one that thinks may have used its tokens up before."""
    return bool(message.text.strip() or (message.reasoning.strip() and message.is_cut))


def _wordless(message: Message) -> Judgement:
    if message.reasoning.strip():
        what = f"all of it came as reasoning, and no answer: {quoted(message.reasoning)}"
        return _failed(message, what, remedies.REASONING)
    ending = f" (finish_reason {quoted(message.finish)})" if message.finish else ""
    return _failed(message, f"the answer is empty{ending}", remedies.EMPTY)


def _words(message: Message) -> str:
    if message.text.strip():
        return f'"{quoted(message.text)}"'
    return f"it was still reasoning after {message.completion_tokens} tokens"


# What a server needs flags for


def tools(answer: Response) -> Judgement:
    """A call of the offered function, its arguments JSON that fits."""
    message = read(answer)
    if message.problem:
        refused = "tool" in message.problem.lower()
        return _failed(message, message.problem, remedies.TOOLS) if refused else _broken(message)
    if not message.calls:
        return _uncalled(message)
    problem = next(filter(None, map(_call_problem, message.calls)), "")
    if problem:
        return _failed(message, problem, remedies.ARGUMENTS)
    return _ok(message, f"{bodies.FUNCTION}({quoted(str(message.calls[0].arguments))})")


#: How models write a call; in the text it is one that no parser has read.
_UNREAD = re.compile(
    r"<\|?tool|\[TOOL_CALLS\]|<function|\"(?:name|arguments)\"\s*:|get_weather\s*\("
)


def _uncalled(message: Message) -> Judgement:
    if _UNREAD.search(message.text):
        what = f"the call came as text, which no parser has read: {quoted(message.text)}"
        return _failed(message, what, remedies.TOOLS)
    if not message.text.strip() and message.is_cut:
        what = f"no call within {message.completion_tokens} tokens, only reasoning"
        return _failed(message, what, remedies.UNCALLED)
    what = f"no call, but {_words(message) if message.text.strip() else 'an empty answer'}"
    return _failed(message, what, remedies.UNCALLED)


def _call_problem(call: Call) -> str:
    if call.name != bodies.FUNCTION:
        return f"{quoted(call.name) or 'a function without a name'} was called, not offered"
    if not isinstance(call.arguments, str):
        return f"the arguments are no text: they are of the kind {type(call.arguments).__name__}"
    found = _json(call.arguments)
    if found is None:
        return f"the arguments are not JSON: {quoted(call.arguments)}"
    problem = misfit(found, bodies.ARGUMENTS, "the call")
    return f"{problem}: {quoted(call.arguments)}" if problem else ""


#: Where the reasoning begins or ends in an answer that it is not apart from.
_THOUGHT = re.compile(r"</?think(?:ing)?>|<\|channel\|>|\[/?THINK\]")


def reasoning(answer: Response, expected: bool | None) -> Judgement:
    """Reasoning beside the answer. `expected`: whether the recipe has a parser of it."""
    message = read(answer)
    if message.problem:
        return _broken(message)
    if _THOUGHT.search(message.text):
        what = f"the reasoning is in the answer: {quoted(message.text)}"
        return _failed(message, what, remedies.REASONING)
    if message.reasoning.strip():
        if not _has_words(message):
            return _wordless(message)
        return _ok(message, f"apart from the answer: {quoted(message.reasoning)}")
    if expected:
        return _failed(message, "the recipe has a parser, and no reasoning came", remedies.PARSER)
    recipe = "the recipe has no reasoning parser, and " if expected is False else ""
    return skipped(f"{recipe}the server shows no reasoning")


def structured(answer: Response) -> Judgement:
    """Content that is JSON and fits the schema."""
    message = read(answer)
    if message.problem:
        return (
            _failed(message, message.problem, remedies.STRUCTURED)
            if (message.status == 400)
            else _broken(message)
        )
    if not message.text.strip():
        return _wordless(message)
    found = _json(message.text)
    if found is None:
        cut = f", cut after {message.completion_tokens} tokens" if message.is_cut else ""
        what = f"the answer is not JSON{cut}: {quoted(message.text)}"
        return _failed(message, what, remedies.STRUCTURED)
    problem = misfit(found, bodies.FORM, "the answer")
    if problem:
        return _failed(message, f"{problem}: {quoted(message.text)}", remedies.STRUCTURED)
    return _ok(message, quoted(message.text))


def _json(text: str) -> object:
    """What the text says; None if it is not JSON, or null."""
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found


#: How servers say that their model takes no images: vLLM (also with a limit of 0), SGLang,
#: llama.cpp, Ollama.
_BLIND = re.compile(
    r"not a multi-?modal model|at most 0 image|not support (?:image|vision|multi-?modal)"
    r"|image input is not supported|missing data required for image",
    re.IGNORECASE,
)


def image(answer: Response, expected: bool | None) -> Judgement:
    """The colour of a picture of one colour. `expected`: whether the recipe takes images."""
    message = read(answer)
    if message.problem:
        if _BLIND.search(message.problem):
            if expected:
                return _failed(message, message.problem, remedies.IMAGE)
            return skipped(f"the server takes no images: {message.problem}")
        return _broken(message)
    if not _has_words(message):
        return _wordless(message)
    if message.text.strip() and bodies.COLOUR not in message.text.lower():
        what = f"the picture is {bodies.COLOUR}, and the answer is {_words(message)}"
        return _failed(message, what, remedies.BLIND)
    return _ok(message, _words(message))


# The context


def long(answer: Response, tokens: int, *, exact: bool) -> Judgement:
    """An answer to a prompt of `tokens` tokens; `exact`: they were counted by the server."""
    message = read(answer)
    if message.problem:
        return _failed(message, message.problem, remedies.LONG)
    if not _has_words(message):
        return _wordless(message)
    least = tokens * (0.9 if exact else 0.5)
    if message.prompt_tokens and message.prompt_tokens < least:
        what = f"of about {tokens} tokens the model saw {message.prompt_tokens}: the rest was cut"
        return _failed(message, what, remedies.CUT)
    return _ok(message, f"a prompt of about {tokens} tokens")


#: How a server refuses what is too long: vLLM, SGLang and others 400, gateways 413, some 422.
_REFUSED = (400, 413, 422)


def too_long(answer: Response, after: Response, context: int) -> Judgement:
    """A refusal of a prompt longer than the context, after which the server answers as before."""
    message, next_one = read(answer), read(after)
    if next_one.problem:
        what = f"after a prompt that is too long a short one fails: {next_one.problem}"
        return _failed(message, what, remedies.CRASHED)
    if answer.status in _REFUSED:
        return _ok(message, why(answer))
    if not message.problem:
        seen = f" ({message.prompt_tokens} tokens of it)" if message.prompt_tokens else ""
        what = f"a prompt longer than the context of {context} tokens was answered{seen}"
        return _failed(message, what, remedies.CUT)
    what = f"a prompt that is too long is no HTTP 400, but {message.problem}"
    return _failed(message, what, remedies.CRASHED)


# Several requests


def together(one: Stream, other: Stream) -> Judgement:
    """Two answers, the tokens of each coming while the other's come."""
    messages = read_stream(one), read_stream(other)
    both = Message(
        prompt_tokens=sum(each.prompt_tokens for each in messages),
        completion_tokens=sum(each.completion_tokens for each in messages),
    )
    for message in messages:
        if message.problem:
            what = f"of two requests at once one failed: {message.problem}"
            remedy = remedies.of_status(message.status, message.problem)
            return _failed(both, what, remedy)
        if message.first is None or message.last is None:
            return _wordless(message)
    shared = _least(messages, lambda each: each.last) - _most(messages, lambda each: each.first)
    if shared > 0:
        return _ok(both, f"their tokens came side by side for {shared:.1f} s")
    spans = [(message.last or 0.0) - (message.first or 0.0) for message in messages]
    if min(message.chunks for message in messages) < _FEW or min(spans) < _SHORT:
        return _ok(both, "both were answered, too shortly to come side by side")
    return _failed(both, "the second answer waited for the first one's end", remedies.TOGETHER)


#: Chunks, and seconds, of an answer that is over before another can begin.
_FEW, _SHORT = 8, 0.5


def _least(messages: tuple[Message, ...], of: Callable[[Message], float | None]) -> float:
    return min(of(message) or 0.0 for message in messages)


def _most(messages: tuple[Message, ...], of: Callable[[Message], float | None]) -> float:
    return max(of(message) or 0.0 for message in messages)


@dataclass(frozen=True)
class Running:
    """Requests that the server says it runs: `before` ours, and at last `now`, `seconds` after ours
    was cancelled. None: it does not say."""

    before: float | None
    now: float | None
    seconds: float


def cancel(begun: Stream, after: Response, running: Running) -> Judgement:
    """A stream that we closed: the server answers the next one, and runs ours no more."""
    opened, message = read_stream(begun), read(after)
    if not begun.events:
        return _broken(opened)
    if message.problem:
        what = f"after a stream was closed the next request fails: {message.problem}"
        return _failed(message, what, remedies.CRASHED)
    if running.before is None or running.now is None:
        return _ok(message, "it goes on answering; how many requests run it does not say")
    if running.now <= running.before:
        return _ok(message, f"{running.now:g} requests run after {running.seconds:.1f} s")
    if running.before:
        others = f"{running.before:g} requests of others ran before"
        return skipped(f"it goes on answering; {others}, so whether ours ended is not seen")
    what = f"{running.now:g} requests still run {running.seconds:.0f} s after theirs was closed"
    return _failed(message, what, remedies.CANCEL)
