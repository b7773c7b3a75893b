"""`spark-cluster bench`: load on a running server, its results, their comparison."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spark_cluster.cli.commands.bench_ab import ab
from spark_cluster.cli.commands.bench_benchy import llama_benchy
from spark_cluster.cli.commands.bench_options import (
    ConcurrencyOption,
    LoadOptions,
    OutputTokensOption,
    RunOptions,
    Target,
)
from spark_cluster.cli.options import Hosts, split
from spark_cluster.cli.output import Json
from spark_cluster.cli.sections import Verbs
from spark_cluster.terminal.signals import as_ctrl_c

if TYPE_CHECKING:
    from spark_cluster.bench.plan import Settings

app = Verbs("bench", "Measure a running server, and compare and plot results.")


@app.verb()
def sweep(
    *,
    target: Target,
    levels: Annotated[
        str, typer.Option("--levels", metavar="N,N", help="Numbers of concurrent requests.")
    ] = "1,2,4,8,16,32,64,128,256",
    input_tokens: Annotated[
        int, typer.Option("--input-tokens", min=1, help="Tokens per prompt.")
    ] = 128,
    output_tokens: OutputTokensOption = 64,
    load: LoadOptions,
    vllm: Annotated[
        bool,
        typer.Option("--vllm", help="Use `vllm bench serve` in the head's container."),
    ] = False,
    run: RunOptions,
    where: Hosts,
    shown: Json,
) -> int:
    """Measure decoding by the number of concurrent requests.

    Gives tokens per second, time to first token and latency.

    Each level has 4 requests per place, at least 8.
    """
    from spark_cluster.actions.bench import numbers, settings

    chosen = settings(
        "sweep",
        numbers("--levels", levels, most=4096),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        **asdict(load),
    )
    return _measure(chosen, target, run, where, shown, vllm=vllm)


@app.verb()
def prefill(
    *,
    target: Target,
    lengths: Annotated[
        str, typer.Option("--lengths", metavar="N,N", help="Prompt lengths in tokens (8K is 8192).")
    ] = "1K,2K,4K,8K,16K,32K,64K",
    concurrency: ConcurrencyOption = 1,
    load: LoadOptions,
    run: RunOptions,
    where: Hosts,
    shown: Json,
) -> int:
    """Measure prefill by the length of the prompt.

    Each length has 4 requests per place, at least 5, each with one token to answer.
    """
    from spark_cluster.actions.bench import numbers, settings

    chosen = settings(
        "prefill",
        numbers("--lengths", lengths, most=10**7),
        input_tokens=0,
        output_tokens=1,
        concurrency=concurrency,
        **asdict(load),
    )
    return _measure(chosen, target, run, where, shown)


@app.verb()
def image(
    *,
    target: Target,
    resolutions: Annotated[
        str,
        typer.Option(
            "--resolutions", metavar="N,N", help="Edge lengths of the square images in pixels."
        ),
    ] = "256,512,1024",
    concurrency: ConcurrencyOption = 32,
    output_tokens: OutputTokensOption = 32,
    load: LoadOptions,
    run: RunOptions,
    where: Hosts,
    shown: Json,
) -> int:
    """Measure image requests by resolution. Each request has a new image."""
    from spark_cluster.actions.bench import numbers, settings

    chosen = settings(
        "image",
        numbers("--resolutions", resolutions, most=8192),
        input_tokens=16,
        output_tokens=output_tokens,
        concurrency=concurrency,
        **asdict(load),
    )
    return _measure(chosen, target, run, where, shown)


def _measure(
    chosen: Settings,
    target: Target,
    run: RunOptions,
    where: Hosts,
    shown: Json,
    *,
    vllm: bool = False,
) -> int:
    from spark_cluster.actions.bench import Ask, measure
    from spark_cluster.cli.views.bench import RunView

    hosts = split(where.hosts)
    about = {**asdict(target), **asdict(run)}
    ask = Ask(chosen, inventory=where.inventory, hosts=hosts, vllm=vllm, **about)
    with shown.operator(view=None if shown.as_json else RunView()) as operator, as_ctrl_c():
        return measure(ask, operator).exit_code


@app.verb()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Results to compare with.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Results to compare.")],
    *,
    shown: Json,
) -> None:
    """Compare two results: ratios, 95 % intervals, and what is noise.

    A and B are files of `bench`, or of `vllm bench serve --save-result --save-detailed`.
    """
    from spark_cluster.actions.bench_report import Compared
    from spark_cluster.bench.compare import compare as compare_runs
    from spark_cluster.bench.files import load
    from spark_cluster.cli.views.bench import comparison

    shown.report(Compared(compare_runs(load(a), load(b))), comparison)


@app.verb()
def report(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Result files of `bench`.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="FILE.md", help="File to write; default: beside the first file."
        ),
    ] = None,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Draw plots.")] = True,
    form: Annotated[
        str, typer.Option("--format", metavar="svg|png", help="Image format of the plots.")
    ] = "svg",
    shown: Json,
) -> None:
    """Write results as Markdown with plots. Two runs of a kind are compared as well."""
    from spark_cluster.actions.bench_report import write
    from spark_cluster.cli.views.bench import written

    shown.report(write(files, output, form if plots else None), written)


app.verb()(ab)
app.verb("llama-benchy")(llama_benchy)
