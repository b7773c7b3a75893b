"""`vllm bench serve` inside the head's container: the script that runs it, and its results as ours.

Names of the options and of the result's fields: vllm/benchmarks/serve.py, 0.11 to 0.32. What older
versions do not write (latencies, start_times) is worked out from what they do.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spark_cluster.bench import stats
from spark_cluster.bench.notes import raised
from spark_cluster.bench.plan import Settings, Step
from spark_cluster.bench.results import Level, Request, Run, Server, Spread, Summary
from spark_cluster.core.framing import MARK, READ
from spark_cluster.core.shell import quote
from spark_cluster.serving.api import API_KEY, json_object

TOOL = "vllm bench serve"

_MARK = f"{READ}vllm-bench"

#: No count, time or date of a benchmark is larger; with more a sum may leave what a float can hold.
_MOST = 1e15

_NO_REASON = "failed, no reason given"

#: Leaves the texts out and prints the rest on one line.
_PRINT = """\
import json, sys
found = json.load(open(sys.argv[1]))
found.pop("generated_texts", None)
print(json.dumps(found))
"""


#: The benchmark sends the key that the server asks for: both have it from the container.
_KEY = f'[ -z "${API_KEY}" ] || export OPENAI_API_KEY="${API_KEY}"'


def script(
    container: str,
    port: int,
    server: Server,
    settings: Settings,
    steps: Sequence[Step],
    *,
    scratch: str = "/tmp/spark-cluster-bench",
) -> str:
    """Runs every level, one after the other, and prints each result after its mark.

    `scratch` begins the names of its two files in the container.

    The benchmark ends with the script: a process in a container does not end with `docker exec`.
    """
    inside = f"docker exec {quote(container)}"
    pid, result = f"{scratch}.pid", f"{scratch}.json"
    lines = [
        f"_end() {{ {inside} sh -c 'kill $(cat {pid}) 2>/dev/null'; }}",
        "trap '_end; exit 143' HUP INT TERM",
        f"_help=$({inside} vllm bench serve --help=all 2>&1)",
        '_knows() { case $_help in *"$1"*) return 0 ;; esac; return 1; }',
    ]
    for step in steps:
        words = ["vllm", "bench", "serve", *_options(port, server, settings, step, result)]
        command = " ".join(map(quote, words))
        start = f"{_KEY}; echo $$ >{pid}; exec {command} $0"  # $0: further options
        lines += [
            f"_more=; ! _knows --num-warmups || _more='--num-warmups {step.warm_up}'",
            f'echo "{MARK}vllm-bench level {step.value}"',
            f'{inside} sh -c {quote(start)} "$_more" </dev/null >&2 & wait $!',
            f'echo "{MARK}vllm-bench status $?"',
            f"{inside} python3 -c {quote(_PRINT)} {result} && {inside} rm -f {result}",
        ]
    return "\n".join([*lines, f'echo "{MARK}vllm-bench end"', ""])


def _options(
    port: int, server: Server, settings: Settings, step: Step, result: str
) -> Iterator[str]:
    folder, _, name = result.rpartition("/")
    seed = zlib.crc32(f"{settings.seed}/{settings.salt}/{step.name}".encode()) % 2**31
    yield from ("--backend", "openai", "--base-url", f"http://127.0.0.1:{port}")
    yield from ("--model", server.root or server.model, "--served-model-name", server.model)
    yield from ("--dataset-name", "random", "--random-input-len", str(step.input_tokens))
    yield from ("--random-output-len", str(step.output_tokens), "--ignore-eos")
    yield from ("--num-prompts", str(step.requests), "--max-concurrency", str(step.concurrency))
    yield from ("--seed", str(seed), "--disable-tqdm", "--trust-remote-code")
    yield from ("--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "50,95,99")
    yield from ("--save-result", "--save-detailed", "--result-dir", folder)
    yield from ("--result-filename", name)


def progress(line: str) -> int | None:
    """The level that a line of the script's output begins."""
    words = line.split()
    is_level = words[:2] == [_MARK, "level"] and len(words) == 3 and words[2].isdecimal()
    return int(words[2]) if is_level else None


@dataclass
class Reader:
    """Takes the script's output line by line; `level` is the one that runs."""

    level: int | None = None

    def read(self, line: str) -> Mapping[str, Any] | None:
        """The level's result, if the line is one."""
        begins = progress(line)
        if begins is not None:
            self.level = begins
        elif self.level is not None and line.startswith("{"):
            data = json_object(line)
            return data if is_result(data) else None
        return None


def is_result(data: object) -> bool:
    """Whether it is a result of `vllm bench serve`."""
    return isinstance(data, dict) and {"completed", "duration", "total_output_tokens"} <= set(data)


def as_level(data: Mapping[str, Any]) -> Level:
    """A result as a level of ours; with `--save-detailed` it has its requests."""
    seconds = _number(data.get("duration"))
    requests = _without_silent_failures(data, tuple(_requests(data)))
    concurrency = int(_number(data.get("max_concurrency")) or _number(data.get("num_prompts")) or 1)
    return Level(
        name=f"c={concurrency}",
        value=concurrency,
        concurrency=concurrency,
        seconds=seconds,
        requests=requests,
        notes=tuple(_miscounted(data, requests)),
        summary=stats.summarise(requests, seconds) if requests else _summary(data, seconds),
    )


def level_of(step: Step, data: Mapping[str, Any]) -> Level:
    """The result of a level that was asked for."""
    level = as_level(data)
    return level.model_copy(
        update={
            "name": step.name,
            "value": step.value,
            "concurrency": step.concurrency,
            "notes": (*raised(step), *level.notes),
        }
    )


def _without_silent_failures(
    data: Mapping[str, Any], requests: tuple[Request, ...]
) -> tuple[Request, ...]:
    """With an error where vLLM wrote none: its text is the HTTP status' phrase, which a server may
    leave out."""
    good = stats.succeeded(requests)
    too_many = len(good) > _number(data.get("completed"))
    return tuple(
        request.model_copy(update={"error": _NO_REASON})
        if not request.error and not request.output_tokens and (too_many or not request.ttft)
        else request
        for request in requests
    )


def _miscounted(data: Mapping[str, Any], requests: Sequence[Request]) -> Iterator[str]:
    completed, good = int(_number(data.get("completed"))), len(stats.succeeded(requests))
    if requests and good != completed:
        yield f"vLLM counts {completed} requests as completed, its list of them shows {good}"


def _requests(data: Mapping[str, Any]) -> Iterator[Request]:
    columns = [_list(data, name) for name in ("ttfts", "itls", "input_lens", "output_lens")]
    count = min(map(len, columns))
    starts, latencies, errors = (
        _list(data, name) or [None] * count for name in ("start_times", "latencies", "errors")
    )
    begun = min((_number(start) for start in starts), default=0.0)
    rows = zip(*columns, starts, latencies, errors, strict=False)
    for ttft, itls, prompt, output, start, latency, error in rows:
        gaps = [_number(gap) for gap in itls] if isinstance(itls, list) else []
        first = _number(ttft)
        text = str(error or "").strip().rpartition("\n")[2]
        yield Request(
            start=round(_number(start) - begun, 6),
            ttft=round(first, 6),
            latency=round(_number(latency) or first + math.fsum(gaps), 6),
            prompt_tokens=int(_number(prompt)),
            output_tokens=int(_number(output)),
            gaps=tuple(round(gap, 6) for gap in gaps),
            error=text,
        )


def _summary(data: Mapping[str, Any], seconds: float) -> Summary:
    """From the percentiles that vLLM worked out itself, where there are no requests."""
    counts = ("completed", "failed", "total_input_tokens", "total_output_tokens")
    completed, failed, prompt, output = (int(_number(data.get(name))) for name in counts)
    return Summary(
        ok=completed,
        failed=failed,
        errors={_NO_REASON: failed} if failed else {},
        prompt_tokens=prompt,
        output_tokens=output,
        requests_per_second=completed / seconds if seconds else 0.0,
        prompt_per_second=prompt / seconds if seconds else 0.0,
        output_per_second=output / seconds if seconds else 0.0,
        ttft=_spread(data, "ttft"),
        latency=_spread(data, "e2el"),
        tpot=_spread(data, "tpot"),
        itl=_spread(data, "itl"),
    )


def _spread(data: Mapping[str, Any], name: str) -> Spread | None:
    """None unless all are there: vLLM's default is the 99th percentile alone."""
    keys = {"p50": f"median_{name}_ms", "mean": f"mean_{name}_ms"}
    keys |= {f"p{share}": f"p{share}_{name}_ms" for share in (95, 99)}
    if not all(key in data for key in keys.values()):
        return None
    return Spread(**{key: _number(data[field]) / 1000 for key, field in keys.items()})


def as_run(data: Mapping[str, Any], name: str) -> Run:
    """A result's file as a run of one level; its requests' lengths are those of the answers."""
    level = as_level(data)
    prompts = {request.prompt_tokens for request in level.requests}
    outputs = {request.output_tokens for request in level.requests}
    date = str(data.get("date") or "")
    return Run(
        program=TOOL,
        tool=TOOL,
        kind="sweep",
        run=name,
        started=date,
        ended=date,
        server=Server(endpoint="", model=str(data.get("model_id") or "")),
        arguments={
            "input_tokens": prompts.pop() if len(prompts) == 1 else None,
            "output_tokens": outputs.pop() if len(outputs) == 1 else None,
            "request_rate": str(data.get("request_rate")),
        },
        levels=(level,),
    )


def _list(data: Mapping[str, Any], name: str) -> list[Any]:
    value = data.get(name)
    return value if isinstance(value, list) else []


def _number(value: object) -> float:
    """A number from 0 to _MOST; anything else is 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST:
        return 0.0
    return float(value)
