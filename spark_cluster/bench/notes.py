"""What one should know of a level before believing its figures. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from spark_cluster.bench import stats
from spark_cluster.bench.plan import Step
from spark_cluster.bench.results import Level, Request

#: A larger share of the prompts answered by the prefix cache makes prefill look faster than it is.
_CACHED = 0.02

#: So much later than the server's own clock says, in seconds and as a share, the first token came.
_LATE, _LATE_SHARE = 0.05, 0.2

#: From this share of a core on, waiting for this program is part of what it measures.
_BUSY = 0.8


def level_notes(level: Level, step: Step) -> Iterator[str]:
    """One line each; none for a level without anything to remark."""
    yield from raised(step)
    if level.unsent:
        yield f"given up after failures in a row: {level.unsent} requests were not sent"
    good = stats.succeeded(level.requests)
    if level.cached_tokens and level.looked_up:
        share = level.cached_tokens / level.looked_up
        if share > _CACHED:
            yield f"the prefix cache answered {share:.0%} of the prompts' tokens"
    yield from _lengths(good, step)
    ttft = level.summary.ttft
    if ttft is not None and level.server_ttft is not None and not level.summary.failed:
        late = ttft.mean - level.server_ttft
        if late > max(_LATE, _LATE_SHARE * ttft.mean):
            yield (
                f"first tokens came {late:.3f} s later than by the server's own clock: the way "
                "there, or this program, takes that long"
            )
    if level.client_cpu is not None and level.client_cpu > _BUSY:
        yield (
            f"this program used {level.client_cpu:.0%} of a core: some of the times are its own; "
            "measure from a faster machine, or use --vllm"
        )


def raised(step: Step) -> Iterator[str]:
    """A word on --requests, where the level has more of them."""
    if step.asked is not None:
        yield (
            f"{step.requests} requests instead of --requests {step.asked}: at least one for each "
            "at once"
        )


def _lengths(good: list[Request], step: Step) -> Iterator[str]:
    if not good:
        return
    prompts = [request.prompt_tokens for request in good]
    if not any(prompts):
        yield "the server gave no usage: prompt tokens are unknown, answers are counted in chunks"
    elif not step.edge and (min(prompts), max(prompts)) != (step.input_tokens,) * 2:
        length = f"{min(prompts)} to {max(prompts)}" if min(prompts) < max(prompts) else prompts[0]
        yield f"prompts had {length} tokens, {step.input_tokens} were wanted"
    short = [request for request in good if request.output_tokens < step.output_tokens]
    if short:
        yield (
            f"{len(short)} of {len(good)} answers ended before {step.output_tokens} tokens: the "
            "server does not heed ignore_eos"
        )
    tokens = sum(request.output_tokens for request in good)
    chunks = sum(len(request.gaps) + 1 for request in good)
    if tokens > 1.1 * chunks:
        yield f"{tokens / chunks:.1f} tokens a chunk: ITL is the time between chunks"
