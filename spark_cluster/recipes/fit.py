"""Does a recipe's model fit into the memory of its hosts? A sum that a person can check. Pure.

    memory of the smallest host x the engine's share
    - weights of one rank - what the engine needs beside them
    = KV cache of one rank; divided by the bytes of one token: tokens

CPU and GPU of a Spark share one memory, so the share is taken of MemTotal. All ranks get equally
many tokens: the smallest host decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from spark_cluster.core.step import Problem
from spark_cluster.core.units import GIB
from spark_cluster.recipes import ollama
from spark_cluster.recipes.context import beyond
from spark_cluster.recipes.demand import Demand
from spark_cluster.recipes.model_config import ModelConfig
from spark_cluster.recipes.rank import (
    BLOCK_TOKENS,
    RESERVE_BYTES,
    RESERVE_BYTES_PER_BATCHED_TOKEN,
    Rank,
)

#: What a 128 GB Spark calls its memory: 119 GB in the project's notes of 2026, 119.63 and 121.69
#: in public logs (guoqingbao/xinfer issue 298, MiaAI-Lab/GLM-5.3-Flash-EXL3-2x-DGX-Sparks 204).
NOMINAL_BYTES = int(119.6 * GIB)

#: There are Sparks of 64 GB and none smaller. On less the estimates below mean nothing.
LEAST_BYTES = 32 * GIB

#: Another loader of the weights alone took 4.43 GiB off the KV cache of a Spark
#: (MiaAI-Lab/GLM-5.3-Flash-EXL3-2x-DGX-Sparks issue 204): a sum closer than that may not hold.
MARGIN_BYTES = int(4.43 * GIB)

#: The largest share that the notes saw working (Qwen3-32B-FP8 on one Spark).
MOST_FRACTION = 0.90

#: Engines that divide the memory in their own way: only what they cannot do without is added up.
ROUGH = ("ollama", "trtllm")

Verdict = Literal["fits", "tight", "no", "unknown"]


@dataclass(frozen=True)
class Memory:
    """Bytes of a host; `free` is what a launch can have, None if nobody has looked."""

    host: str
    total: int
    free: int | None = None


NOMINAL = Memory("", NOMINAL_BYTES)


@dataclass(frozen=True)
class Line:
    """One line of the sum: `value` as it is printed, `how` it came about."""

    what: str
    value: str
    how: str = ""


@dataclass(frozen=True)
class Fit:
    """`kv_bytes` of one rank, `token_bytes` of one token on one rank, `tokens` that fit in,
    `sequences` of full length; None where it is not known. `problems` are why it does not fit,
    `warnings` why it may not."""

    verdict: Verdict
    lines: tuple[Line, ...]
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    kv_bytes: int | None = None
    token_bytes: int | None = None
    tokens: int | None = None
    sequences: float | None = None


def fit(
    demand: Demand,
    config: ModelConfig | None,
    weights: int | None,
    hosts: Sequence[Memory],
    draft: int = 0,
) -> Fit:
    """`weights` are the bytes of the weight files, None if they are not known, `draft` those of
    them that are a draft's; `hosts` are those that serve, or NOMINAL."""
    smallest = min(hosts, key=lambda host: host.total)
    why = ""
    if smallest.total < LEAST_BYTES:
        why = "A host of this size is no Spark; what the engine needs there is not known."
    if not weights:
        why = (
            "The size of the weights is not known: the model is not in the cache, or a part of it "
            "stays on the disk."
        )
    if why or not weights:
        return Fit("unknown", (_memory_line(smallest),), notes=(why,))
    rank = Rank(demand, config, smallest.total, weights, draft)
    if demand.engine in ROUGH:
        return _rough(rank, hosts)
    long = beyond(demand, config)
    problems = [*long.problems, *_undivided(rank), *_too_large(rank), *_taken(rank, hosts)]
    tight = [] if problems else list(_tight(rank))
    verdict: Verdict = "fits"
    if problems:
        verdict = "no"
    elif rank.tokens is None or demand.fraction is None:
        verdict = "unknown"
    elif tight:
        verdict = "tight"
    known = demand.fraction is not None or demand.kv_bytes is not None
    tokens = rank.tokens if known else None
    return Fit(
        verdict,
        tuple(_lines(rank, smallest)),
        tuple(problems),
        (*long.warnings, *tight),
        (*_notes(rank, hosts), *long.notes),
        kv_bytes=int(rank.kv) if known else None,
        token_bytes=rank.token,
        tokens=tokens,
        sequences=tokens / rank.context if tokens is not None and rank.context else None,
    )


def _rough(rank: Rank, hosts: Sequence[Memory]) -> Fit:
    """The weights, and the KV cache where the engine makes it as large as its settings say."""
    demand = rank.demand
    smallest = min(hosts, key=lambda host: host.total)
    lines = [_memory_line(smallest)]
    lines.append(Line("- weights", gib(rank.share), f"{gib(rank.weights)} / {demand.ranks} ranks"))
    kv = _ollama_cache(rank)
    if kv is not None:
        how = f"{demand.sequences} x {demand.context:,} tokens ({demand.kv_dtype})"
        lines.append(Line("- KV cache", gib(kv), how))
    needed = rank.share + (kv or 0)
    left = smallest.total - needed
    lines.append(Line("= left", gib(left), "for buffers and the system" if left > 0 else ""))
    what = "weights" if kv is None else "weights and KV cache"
    problems = []
    if left <= 0:
        said = f"{what} need {gib(needed)} of a host, it has {gib(smallest.total)}"
        problems.append(Problem("RECIPE001", said, _ROUGH_REMEDY[demand.engine]))
    for host in hosts:
        if not problems and host.free is not None and host.free < needed:
            said = f"{host.host}: {gib(host.free)} are free, {what} need {gib(needed)}"
            remedy = "Stop what holds the memory (`spark-cluster status`)."
            problems.append(Problem("SERVE001", said, remedy))
    warnings = []
    if not problems and left < MARGIN_BYTES:
        said = f"beside {what} {gib(left)} are left, less than {gib(MARGIN_BYTES)}"
        warnings.append(Problem("RECIPE002", said, _ROUGH_REMEDY[demand.engine]))
    known: Verdict = "unknown" if kv is None else "tight" if warnings else "fits"
    return Fit(
        "no" if problems else known,
        tuple(lines),
        tuple(problems),
        tuple(warnings),
        (f"Not in the sum: {_not_summed(rank, kv)}.",),
        kv_bytes=None if kv is None else int(kv),
    )


_ROUGH_REMEDY = {
    "ollama": "Lower num_ctx or OLLAMA_NUM_PARALLEL, or choose a smaller model.",
    "trtllm": "Use more hosts (tp_size), or a model that is more strongly quantized.",
}


def _ollama_cache(rank: Rank) -> float | None:
    """None for another engine, and where a number of the model or of the settings is missing."""
    demand, config = rank.demand, rank.config
    element = ollama.KV_BYTES.get(demand.kv_dtype)
    known = demand.engine == "ollama" and config is not None and not config.other
    if not known or config is None or element is None or demand.context is None:
        return None
    token = 2 * config.layers * config.kv_heads * config.head_dim * element
    return token * demand.context * (demand.sequences or 1)


def _not_summed(rank: Rank, kv: float | None) -> str:
    if rank.demand.engine == "trtllm":
        return (
            "activations, and the KV cache, for which TensorRT-LLM takes a share of what is left "
            "(free_gpu_memory_fraction)"
        )
    if kv is not None:
        return "Ollama's buffers for computing, which grow with num_batch"
    lacking = "num_ctx" if rank.demand.context is None else "the model's layers and heads"
    return f"the KV cache ({lacking} is not known) and Ollama's buffers for computing"


def gib(count: float) -> str:
    return f"{count / GIB:.2f} GiB"


# The lines of the sum


def _memory_line(host: Memory) -> Line:
    how = f"MemTotal of {host.host}" if host.host else "assumed: a 128 GB Spark"
    return Line("memory of a host", gib(host.total), how)


def _lines(rank: Rank, host: Memory) -> Iterator[Line]:
    demand = rank.demand
    yield _memory_line(host)
    if demand.fraction is not None:
        yield Line(f"x {demand.fraction:g}", gib(rank.budget), _share_argument(demand))
    parts = f"TP {demand.tensor}" + (f" x PP {demand.pipeline}" if demand.pipeline > 1 else "")
    how = f"{gib(rank.weights - rank.draft)} of files / {parts}"
    how += f" + {gib(rank.draft)} of the draft" if rank.draft else ""
    yield Line("- weights", gib(rank.share), how)
    if demand.is_vllm:
        how = (
            f"estimated: {gib(RESERVE_BYTES)} + {demand.batched_tokens} batched tokens x "
            f"{RESERVE_BYTES_PER_BATCHED_TOKEN // 1024} KiB"
        )
        yield Line("- activations, graphs", gib(rank.reserve), how)
    if demand.fraction is None and demand.kv_bytes is None:
        return
    fixed = "kv-cache-memory-bytes" if demand.kv_bytes is not None else ""
    yield Line("= KV cache of a host", gib(rank.kv), fixed)
    yield from _token_lines(rank)


def _share_argument(demand: Demand) -> str:
    return "gpu-memory-utilization" if demand.is_vllm else "mem-fraction-static"


def _token_lines(rank: Rank) -> Iterator[Line]:
    config, tokens = rank.config, rank.tokens
    if config is None or rank.token is None or not tokens:
        return
    dtype = rank.demand.kv_dtype if rank.demand.kv_dtype != "auto" else config.dtype
    if config.latent is None:
        each = f"2 x {rank.layers} layers x {rank.kv_heads} KV heads x {config.head_dim}"
        how = f"{each} x {rank.element} B ({dtype})"
    else:
        how = f"{rank.layers} layers x {rank.token // rank.layers} B of latent attention ({dtype})"
    yield Line("/ one token", f"{rank.token / 1024:.1f} KiB", how)
    yield Line("= tokens", f"{tokens:,}", f"in blocks of {BLOCK_TOKENS}")
    if rank.context:
        whose = "max-model-len" if rank.demand.context else "the model's own limit"
        how = f"of {rank.context:,} tokens ({whose})"
        yield Line("= full sequences", f"{tokens / rank.context:.1f}", how)
    if rank.demand.sequences:
        how = f"sequences at once: {tokens // rank.demand.sequences:,} tokens"
        yield Line("= for each of", f"{rank.demand.sequences}", how)


# What is wrong with it


def _undivided(rank: Rank) -> Iterator[Problem]:
    config, tensor, pipeline = rank.config, rank.demand.tensor, rank.demand.pipeline
    if config is None:
        return
    if config.heads % tensor:
        fitting = ", ".join(str(n) for n in range(1, 9) if not config.heads % n)
        what = f"{config.heads} attention heads cannot be divided by tensor parallel {tensor}"
        yield Problem("RECIPE001", what, f"Use one of {fitting}, or pipeline parallel.")
    elif config.layers < pipeline:
        what = f"{config.layers} layers are too few for pipeline parallel {pipeline}"
        yield Problem("RECIPE001", what, f"Use at most {config.layers}.")


def _too_large(rank: Rank) -> Iterator[Problem]:
    used = rank.share + rank.reserve
    what = ""
    if rank.demand.kv_bytes is not None and used + rank.kv > rank.total:
        what = (
            f"weights, activations and KV cache need {gib(used + rank.kv)} of a host, it has "
            f"{gib(rank.total)}"
        )
    elif rank.kv <= 0:
        what = (
            f"weights and activations need {gib(used)} of a host, the engine may use "
            f"{gib(rank.budget)}"
        )
    elif not rank.fits and rank.demand.is_vllm and rank.longest is not None:
        what = (
            f"one sequence of {rank.context:,} tokens needs {gib(rank.longest)} of a host, the KV "
            f"cache has {gib(rank.kv)}: vLLM refuses to start"
        )
    if what:
        yield Problem("RECIPE001", what, _remedy(rank))


def _taken(rank: Rank, hosts: Sequence[Memory]) -> Iterator[Problem]:
    """vLLM wants its whole share free when it starts."""
    for host in hosts:
        wanted = (rank.demand.fraction or 0.0) * host.total
        if host.free is not None and host.free < wanted:
            what = f"{host.host}: {gib(host.free)} are free, the engine wants {gib(wanted)}"
            share = math.floor(host.free / host.total * 100) / 100
            remedy = f"Stop what holds the memory (`spark-cluster status`), or lower it to {share}."
            yield Problem("SERVE001", what, remedy)


def _tight(rank: Rank) -> Iterator[Problem]:
    spare = rank.kv - (rank.longest or 0)
    if rank.token is not None and spare < MARGIN_BYTES:
        what = (
            f"beside one full sequence {gib(spare)} of KV cache are left; the estimate is no "
            f"better than {gib(MARGIN_BYTES)}"
        )
        yield Problem("RECIPE002", what, _remedy(rank, spare=MARGIN_BYTES))
    if (rank.demand.fraction or 0.0) > MOST_FRACTION:
        what = (
            f"{gib(rank.total - rank.budget)} are left for the system and the engine's own "
            f"processes; more than {MOST_FRACTION:g} was never seen working"
        )
        yield Problem("RECIPE002", what, f"Set it to {MOST_FRACTION:g} or less.")


def _remedy(rank: Rank, *, spare: int = 0) -> str:
    """What number to change to what, those that do help; `spare` bytes of KV cache beside."""
    demand = rank.demand
    wanted = (rank.longest or 0) + spare
    ways = []
    if demand.fraction is not None and demand.kv_bytes is None:
        needed = math.ceil((rank.share + rank.reserve + wanted) / rank.total * 100) / 100
        if demand.fraction < needed <= MOST_FRACTION:
            ways.append(f"raise {_share_argument(demand)} to {needed:g}")
    length = int((rank.kv - spare) / rank.token) // 1024 * 1024 if rank.token else 0
    if beyond(demand, rank.config).problems and rank.config and rank.config.context:
        length = min(length, rank.config.context)
    if length > 0 and rank.longest is not None:
        ways.append(f"set max-model-len to {length} or less")
    if rank.element == 2:
        smaller = replace(rank, demand=replace(demand, kv_dtype="fp8"))
        if smaller.kv - spare >= (smaller.longest or 0) > 0:
            ways.append("set kv-cache-dtype to fp8")
    for count in range(demand.tensor + 1, 9):
        more = replace(rank, demand=replace(demand, tensor=count))
        divides = rank.config is None or not rank.config.heads % count
        if divides and more.demand.ranks <= 8 and more.kv - spare >= (more.longest or 0) > 0:
            ways.append(f"use {more.demand.ranks} hosts (tensor parallel {count})")
            break
    if not ways:
        return "Choose a model that is smaller or more strongly quantized."
    text = "; or ".join(ways)
    return text[0].upper() + text[1:] + "."


def _notes(rank: Rank, hosts: Sequence[Memory]) -> Iterator[str]:
    config, demand = rank.config, rank.demand
    if config is None:
        yield "The model's config.json is not in the cache: tokens are not known."
    elif config.other:
        yield f"The KV cache of this model is not computed: {config.other}."
    elif rank.element is None:
        yield f"How much {demand.kv_dtype} takes per element is not known."
    if config is not None and config.growing is not None and config.growing < config.layers:
        yield (
            f"{config.layers - config.growing} of {config.layers} layers keep states of a fixed "
            "size for each sequence, which are not in the sum."
        )
    if demand.fraction is None and demand.kv_bytes is None:
        yield "mem-fraction-static is not set: SGLang chooses its share when it starts."
    totals = {host.host: gib(host.total) for host in hosts}
    if len(set(totals.values())) > 1:
        said = ", ".join(f"{name} {total}" for name, total in totals.items())
        yield f"The hosts differ, the smallest decides: {said}."
