"""The engine's OpenAI-like API: curl scripts that run on the head, and parsers of what they print.

A script prints the body and then a line of its own, `http 200 0.41 s`, once for each request. It
ends well whatever the server does: the parser tells what became of it. Bodies go to curl on its
standard input, so that no prompt shows in a process list.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from spark_cluster.core.framing import MARK, READ
from spark_cluster.core.shell import quote

#: Tokens of one request. A longer generation is split: engines may serve short contexts, and a
#: request that is cut off loses little.
CHUNK = 256

#: A few words that no model refuses to go on from.
PROMPT = "Count upwards from one:"

#: The variable in which vLLM takes its key (vllm/envs.py). It asks for one below /v1 only: /health
#: and /metrics answer without.
API_KEY = "VLLM_API_KEY"

_MARKER = f"{READ}http"
_JSON_END = "SPARK_CLUSTER_JSON"
_HEADER_END = "SPARK_CLUSTER_HEADER"

#: Seconds that docker has to tell the key.
_KEY_SECONDS = 20

#: What an answer goes through: its newest bytes, and so our line in any case. An answer that was
#: cut is no JSON any more.
_BOUND = f"tail -c {4 * 1024**2}"


def _url(address: str, port: int, path: str) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}{path}"


def _curl(word: str, timeout: float) -> str:
    """curl of a URL, given as a shell word, without a proxy; its own error comes in the marker
    line (curl 7.75 and newer)."""
    form = f"\\n{MARK}http %{{http_code}} %{{time_total}} s %{{errormsg}}\\n"
    return f"curl -s --noproxy '*' -m {timeout:g} -w \"{form}\" {word}"


#: A header for curl, from descriptor 3, if `with_key` has found a key: so it is in no command line
#: and in no environment.
_HEADER = "-H @/dev/fd/3"
_HEADER_BODY = f"${{_api_key:+Authorization: Bearer $_api_key}}\n{_HEADER_END}\n"


def with_key(script: str, container: str) -> str:
    """The script, its posts with the key of the server in this container, if that has one.

    Docker on the host knows the key; it is read into a variable of the shell and never printed.
    """
    template = quote("{{range .Config.Env}}{{println .}}{{end}}")
    ask = f"timeout -k 2 {_KEY_SECONDS} docker inspect --format {template} {quote(container)}"
    return f"_api_key=$({ask} 2>/dev/null </dev/null | sed -n 's/^{API_KEY}=//p') || :\n{script}"


def get(port: int, path: str, timeout: float, address: str = "127.0.0.1") -> str:
    """A request without a body."""
    return f"{_curl(quote(_url(address, port, path)), timeout)} </dev/null | {_BOUND}\n"


def post(
    port: int, path: str, body: dict[str, Any], timeout: float, address: str = "127.0.0.1"
) -> str:
    """A request with a JSON body, which goes to curl on its standard input."""
    curl = _curl(quote(_url(address, port, path)), timeout)
    given = f"<<'{_JSON_END}' 3<<{_HEADER_END}"
    return (
        f"{curl} {_HEADER} -H 'Content-Type: application/json' --data-binary @- {given} "
        f"| {_BOUND}\n{json.dumps(body)}\n{_JSON_END}\n{_HEADER_BODY}"
    )


def completion_script(
    port: int, model: str, tokens: int, *, timeout: float, address: str = "127.0.0.1"
) -> str:
    """One request for exactly `tokens` tokens. `timeout` in seconds."""
    body = {
        "model": model,
        "prompt": PROMPT,
        "max_tokens": tokens,
        "min_tokens": tokens,
        "ignore_eos": True,
        "temperature": 0,
        "stream": False,
    }
    return post(port, "/v1/completions", body, timeout, address)


def canary_script(port: int, model: str, *, timeout: float, address: str = "127.0.0.1") -> str:
    """A completion of one token: the proof that all ranks work, which `/health` does not see."""
    return completion_script(port, model, 1, timeout=timeout, address=address)


def generate_script(
    port: int,
    model: str,
    tokens: int,
    *,
    timeout: float,
    address: str = "127.0.0.1",
    chunk: int = CHUNK,
) -> str:
    """Requests, one after the other, for `tokens` tokens in all.

    `timeout` in seconds is for each request of at most `chunk` tokens; it is 0 requests for 0
    tokens.
    """
    sizes = [chunk] * (tokens // chunk) + ([tokens % chunk] if tokens % chunk else [])
    return "".join(
        completion_script(port, model, size, timeout=timeout, address=address) for size in sizes
    )


def health_script(port: int, *, timeout: float = 5, address: str = "127.0.0.1") -> str:
    """`/health`: the API server lives. It says nothing of the ranks."""
    return get(port, "/health", timeout, address)


def pulse_script(port: str, path: str) -> str:
    """The path that says whether the server is well, then `/metrics` without its buckets; the port
    and the path are in shell variables of these names. A server under load is slow to write its
    metrics: they have 10 s, its health has 5 s."""
    health, metrics = (
        _curl(f'"http://127.0.0.1:${{{port}}}{at}"', seconds)
        for at, seconds in ((f"${{{path}}}", 5), ("/metrics", 10))
    )
    return (
        f"{health} </dev/null | {_BOUND}\n"
        f"{metrics} </dev/null | grep -v -e '^#' -e '_bucket{{' | {_BOUND}\n"
    )


@dataclass(frozen=True)
class Response:
    """An HTTP answer. `status` is None if there was none; `error` is then curl's."""

    status: int | None
    body: str
    error: str = ""
    seconds: float | None = None

    @property
    def ok(self) -> bool:
        return self.status == 200


@dataclass(frozen=True)
class Completion:
    """A completion, or several told as one.

    `ok`: every request was answered with a completion. `completion_tokens` as the server counts.
    `error`: the first trouble, empty if there is none. `seconds`: of all requests together.
    """

    ok: bool
    status: int | None
    text: str = ""
    completion_tokens: int = 0
    error: str = ""
    prompt_tokens: int = 0
    seconds: float = 0.0


_MARKER_LINE = re.compile(
    rf"^{_MARKER} ([0-9]{{3}})(?: ([0-9]{{1,9}}(?:\.[0-9]{{1,9}})?) s)?(?: (.*))?$"
)


def responses(text: str) -> Iterator[Response]:
    """The answers in `text`, in order. What follows the last marker line is no answer."""
    body: list[str] = []
    for line in text.split("\n"):
        found = _MARKER_LINE.match(line.rstrip("\r"))
        if not found:
            body.append(line)
            continue
        status = int(found[1]) or None
        error = (found[3] or "").strip()
        if status is None:
            error = error or "no answer"
        seconds = float(found[2]) if found[2] else None
        yield Response(status, "\n".join(body).strip("\n"), error, seconds)
        body = []


def response(text: str) -> Response:
    """The last answer in `text`; without one, an answer that says so."""
    answers = list(responses(text))
    return answers[-1] if answers else Response(None, text.strip(), "the request did not end")


def json_object(text: str) -> dict[str, Any]:
    """A JSON object; empty for anything else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def message_of(answer: Response) -> str:
    """Why a request failed: the engine's own words if it gave any."""
    if answer.status is None:
        return answer.error
    found = json_object(answer.body)
    inner = found.get("error")
    message = inner.get("message") if isinstance(inner, dict) else inner
    message = message or found.get("message") or found.get("detail")
    first = answer.body.strip().partition("\n")[0][:200]
    return f"HTTP {answer.status}: {message or first or 'no reason given'}"


def count_of(usage: object, name: str) -> int:
    """A number above zero of a JSON object; 0 if there is none."""
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


#: What an answer's object holds: the text (None if it is no completion), and how many tokens were
#: generated and read.
Said = tuple[str | None, int, int]


def completion(
    answer: Response, read: Callable[[dict[str, Any]], Said], what: str = "completion"
) -> Completion:
    """The answer as a completion; `what` it is called where it holds no token."""
    failed = Completion(False, answer.status, seconds=answer.seconds or 0.0)
    if not answer.ok:
        return replace(failed, error=message_of(answer))
    text, tokens, prompt_tokens = read(json_object(answer.body))
    if text is None:
        return replace(failed, error="the answer holds no completion")
    return replace(
        failed,
        ok=tokens > 0,
        text=text,
        completion_tokens=tokens,
        error="" if tokens else f"the {what} holds no token",
        prompt_tokens=prompt_tokens,
    )


def _said(found: dict[str, Any]) -> Said:
    choices, usage = found.get("choices"), found.get("usage")
    first = choices[0] if isinstance(choices, list) and choices else None
    text = first.get("text") if isinstance(first, dict) else None
    tokens, prompt = (count_of(usage, f"{name}_tokens") for name in ("completion", "prompt"))
    return text if isinstance(text, str) else None, tokens, prompt


def parse_completion(text: str) -> Completion:
    """What `canary_script` or `generate_script` printed; several answers are added up."""
    parts = [completion(answer, _said) for answer in responses(text)]
    if not parts:
        return Completion(False, None, error=response(text).error)
    failed = next((part for part in parts if not part.ok), None)
    return Completion(
        ok=failed is None,
        status=failed.status if failed else parts[-1].status,
        text="".join(part.text for part in parts),
        completion_tokens=sum(part.completion_tokens for part in parts),
        error=failed.error if failed else "",
        prompt_tokens=sum(part.prompt_tokens for part in parts),
        seconds=sum(part.seconds for part in parts),
    )


def parse_health(text: str) -> Response:
    """What `health_script` printed; `ok` says whether the API server is up."""
    return response(text)
