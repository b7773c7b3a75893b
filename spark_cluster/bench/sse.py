"""Server-sent events, and the times of the tokens in them. Pure: the caller brings the clock."""

from __future__ import annotations

import json
from typing import Any


class Events:
    """Splits a byte stream, however it is cut, into the data of its events (WHATWG HTML, 9.2)."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """The data of every event that `data` completes, in order."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        found = []
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                found.append(b"\n".join(self._data))
                self._data = []
        return found


class Answer:
    """One streamed completion, as its events arrive.

    Times are the caller's, in seconds. A chunk may hold several tokens or, before a character is
    whole, a token without text: every chunk that carries a choice counts as one arrival, save the
    empty chunk that opens a chat. How many tokens came is in the usage at the end.
    """

    def __init__(self) -> None:
        self.first: float | None = None
        self.last: float | None = None
        self.gaps: list[float] = []
        self.prompt_tokens: int | None = None
        self.completion_tokens: int | None = None
        self.error = ""
        self.done = False

    @property
    def chunks(self) -> int:
        return 0 if self.first is None else len(self.gaps) + 1

    @property
    def output_tokens(self) -> int:
        """As the server counts them; without its word, one a chunk."""
        return self.chunks if self.completion_tokens is None else self.completion_tokens

    def take(self, data: bytes, now: float) -> None:
        """One event's data, which arrived at `now`."""
        if data == b"[DONE]":
            self.done = True
            return
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            self.error = self.error or "the stream holds something that is not JSON"
            return
        if not isinstance(found, dict):
            return
        if found.get("error"):
            self.error = self.error or _message(found["error"])
        self._usage(found.get("usage"))
        if _carries_tokens(found.get("choices")):
            self._arrived(now)

    def _arrived(self, now: float) -> None:
        if self.last is None:
            self.first = now
        else:
            self.gaps.append(now - self.last)
        self.last = now

    def _usage(self, usage: object) -> None:
        if isinstance(usage, dict):
            self.prompt_tokens = _count(usage.get("prompt_tokens"), self.prompt_tokens)
            self.completion_tokens = _count(usage.get("completion_tokens"), self.completion_tokens)


def _count(value: object, otherwise: int | None) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise


def _message(error: Any) -> str:
    text = error.get("message") if isinstance(error, dict) else error
    return f"the stream broke off: {str(text).strip().partition(chr(10))[0][:200]}"


def _carries_tokens(choices: object) -> bool:
    if not isinstance(choices, list) or not choices:
        return False
    delta = choices[0].get("delta") if isinstance(choices[0], dict) else None
    if not isinstance(delta, dict):
        return True
    is_opening = "role" in delta and not any(delta.get(k) for k in _TEXTS)
    return not is_opening or bool(choices[0].get("finish_reason"))


#: Where a chat's chunk keeps what the model said.
_TEXTS = ("content", "reasoning_content", "reasoning", "tool_calls")
