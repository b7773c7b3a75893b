"""llama-benchy: its command line, its JSON, and what of ours was measured alike. Pure.

Names of its options and fields: llama-benchy 0.4.0 (config.py, results.py). Its prefill is a
prompt's tokens by the time to the first response without the connection's latency; its decoding is
the tokens after the first by the time since the first: 1 / TPOT of ours, not our tok/s.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from spark_cluster.bench.results import Level, Run
from spark_cluster.core.error import InputError
from spark_cluster.core.strangers_json import loads, mapping, objects

PROGRAM = "llama-benchy"
INSTALL = "`pipx install llama-benchy`, or `uv tool install llama-benchy`"

#: No count, time or rate of a benchmark is larger.
_MOST = 1e15


@dataclass(frozen=True)
class BenchySettings:
    """What it is asked for: tokens of the prompts, of the answers and of the context before them,
    concurrent requests, runs of each; `more` are further words of its command line."""

    prompt_tokens: tuple[int, ...]
    output_tokens: tuple[int, ...]
    depths: tuple[int, ...]
    concurrency: tuple[int, ...]
    runs: int
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class Metric:
    """Of `runs` values: runs or requests."""

    mean: float
    std: float
    runs: int


@dataclass(frozen=True)
class Ours:
    """What `bench` measured with the same lengths and as many requests at once: means, tokens per
    second of one request, and seconds."""

    run: str
    level: str
    prefill: float | None
    decode: float | None
    ttft: float | None


@dataclass(frozen=True)
class BenchyRow:
    """One test. Rates are tokens per second, of one request or of all together; `ttft` is in
    seconds. `is_context`: the context was loaded alone, before its prompt."""

    concurrency: int
    context: int
    prompt_tokens: int
    output_tokens: int
    is_context: bool
    prefill: Metric | None
    decode: Metric | None
    decode_all: Metric | None
    peak: Metric | None
    ttft: Metric | None
    ours: Ours | None = None

    @property
    def name(self) -> str:
        """As llama-benchy calls it: `pp2048 tg32 @ d4096 (c2)`."""
        depth = f" @ d{self.context}" if self.context else ""
        kind = "ctx " if self.is_context else ""
        return f"{kind}pp{self.prompt_tokens} tg{self.output_tokens}{depth} (c{self.concurrency})"


def command(
    program: str, base: str, model: str, served: str, key: str, settings: BenchySettings, file: str
) -> list[str]:
    """Its command line; `base` ends without /v1. Answers have their full length, as ours have."""

    def numbers(values: Sequence[int]) -> list[str]:
        return [str(value) for value in values]

    return [
        program,
        *("--base-url", f"{base}/v1"),
        *(("--api-key", key) if key else ()),
        *("--model", model, "--served-model-name", served),
        *("--pp", *numbers(settings.prompt_tokens)),
        *("--tg", *numbers(settings.output_tokens)),
        *("--depth", *numbers(settings.depths)),
        *("--concurrency", *numbers(settings.concurrency)),
        *("--runs", str(settings.runs), "--exact-tg", "--no-cache"),
        *("--format", "json", "--save-result", file),
        *settings.more,
    ]


def version(text: str) -> str:
    """Of a result; empty if it does not say."""
    return str(mapping(loads(text)).get("version") or "")


def rows(text: str, place: str) -> tuple[BenchyRow, ...]:
    """The tests of a result. Raises InputError for what is none."""
    found = loads(text)
    if not isinstance(mapping(found).get("benchmarks"), list):
        raise InputError(
            f"no result of {PROGRAM}: it has no list of benchmarks",
            place=place,
            remedy=f"Give a file that `{PROGRAM} --format json --save-result` wrote.",
        )
    return tuple(_row(each) for each in objects(found, "benchmarks"))


def _row(data: dict[str, Any]) -> BenchyRow:
    ttft = _metric(data, "e2e_ttft") or _metric(data, "ttfr")
    return BenchyRow(
        concurrency=_count(data.get("concurrency")),
        context=_count(data.get("context_size")),
        prompt_tokens=_count(data.get("prompt_size")),
        output_tokens=_count(data.get("response_size")),
        is_context=data.get("is_context_prefill_phase") is True,
        prefill=_metric(data, "pp_req_throughput") or _metric(data, "pp_throughput"),
        decode=_metric(data, "tg_req_throughput") or _metric(data, "tg_throughput"),
        decode_all=_metric(data, "tg_throughput"),
        peak=_metric(data, "peak_throughput"),
        ttft=ttft and Metric(ttft.mean / 1000, ttft.std / 1000, ttft.runs),
    )


def _metric(data: dict[str, Any], name: str) -> Metric | None:
    found = mapping(data, name)
    values = found.get("values")
    mean, std = _number(found.get("mean")), _number(found.get("std"))
    if mean is None:
        return None
    return Metric(mean, std or 0.0, len(values) if isinstance(values, list) else 0)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and 0 <= value <= _MOST else None


def _count(value: object) -> int:
    return int(_number(value) or 0)


def beside(row: BenchyRow, run: Run) -> Ours | None:
    """The level of ours with the same lengths and as many requests at once."""
    if row.is_context:
        return None
    for level in run.levels:
        if level.concurrency == row.concurrency and row.context + row.prompt_tokens == _lengths(
            run, level, "input_tokens"
        ):
            if run.kind == "prefill":
                return _ours(run, level)
            if row.output_tokens == _lengths(run, level, "output_tokens"):
                return _ours(run, level)
    return None


def _lengths(run: Run, level: Level, name: str) -> int | None:
    if run.kind == "prefill" and name == "input_tokens":
        return level.value
    found = run.arguments.get(name)
    return found if isinstance(found, int) else None


def _ours(run: Run, level: Level) -> Ours:
    tpot, summary = level.summary.tpot, level.summary
    return Ours(
        run.run,
        level.name,
        summary.share("prefill_per_second", "mean"),
        1 / tpot.mean if tpot and tpot.mean else None,
        summary.share("ttft", "mean"),
    )


# As a table

TITLES = ("test", "prefill tok/s", "ours", "each tok/s", "ours", "all tok/s", "TTFT s", "ours")


_NOTHING = Ours("", "", None, None, None)


def table(found: Sequence[BenchyRow]) -> Iterator[tuple[str, ...]]:
    """The rows under TITLES: theirs as mean ± deviation, ours as a mean."""
    for row in found:
        ours = row.ours or _NOTHING
        yield (
            row.name,
            _told(row.prefill),
            _plain(ours.prefill),
            _told(row.decode),
            _plain(ours.decode),
            _told(row.decode_all),
            _told(row.ttft, 3),
            _plain(ours.ttft, 3),
        )


def _told(metric: Metric | None, digits: int = 1) -> str:
    return "-" if metric is None else f"{metric.mean:.{digits}f} ± {metric.std:.{digits}f}"


def _plain(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
