"""`spark-cluster bench llama-benchy`: that tool against the endpoint, beside our own results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spark_cluster.cli.commands.bench_options import Target
from spark_cluster.cli.options import Hosts, split
from spark_cluster.cli.output import Json
from spark_cluster.terminal.signals import as_ctrl_c


def llama_benchy(
    *,
    target: Target,
    pp: Annotated[
        str, typer.Option("--pp", metavar="N,N", help="Tokens per prompt (2K is 2048).")
    ] = "2048",
    tg: Annotated[str, typer.Option("--tg", metavar="N,N", help="Tokens per answer.")] = "32",
    depth: Annotated[
        str, typer.Option("--depth", metavar="N,N", help="Tokens of context before the prompt.")
    ] = "0",
    concurrency: Annotated[
        str, typer.Option("--concurrency", metavar="N,N", help="Numbers of concurrent requests.")
    ] = "1",
    runs: Annotated[int, typer.Option("--runs", min=1, help="Runs per test.")] = 3,
    beside: Annotated[
        Path | None,
        typer.Option("--beside", metavar="FILE", help="Results of `bench` to show beside them."),
    ] = None,
    more: Annotated[
        list[str] | None,
        typer.Option(
            "--pass", metavar="WORD", help="Word for llama-benchy's own command line (repeatable)."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Model name, if the server has several.")
    ] = None,
    api_key_env: Annotated[
        str | None,
        typer.Option(
            "--api-key-env",
            metavar="NAME",
            help="Environment variable with the API key. llama-benchy takes the key on its command "
            "line, which other users of this machine can read.",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="DIR", help="Folder for the results; default: benchmark_results."
        ),
    ] = None,
    where: Hosts,
    shown: Json,
) -> int:
    """Run llama-benchy against the server and show its results beside ours.

    It must be installed here: `pipx install llama-benchy`.
    """
    from spark_cluster.actions.bench import numbers
    from spark_cluster.actions.bench_benchy import BenchyAsk, measure
    from spark_cluster.bench.llama_benchy import BenchySettings
    from spark_cluster.cli.views.bench_benchy import BenchyView

    depths = [word.strip() for word in depth.split(",") if word.strip()]
    deeper = ",".join(word for word in depths if word != "0")
    none = (0,) if "0" in depths or not depths else ()
    chosen = BenchySettings(
        numbers("--pp", pp, most=10**7),
        numbers("--tg", tg, most=10**6),
        (*none, *(numbers("--depth", deeper, most=10**7) if deeper else ())),
        numbers("--concurrency", concurrency, most=4096),
        runs,
        tuple(more or ()),
    )
    ask = BenchyAsk(
        chosen, target.recipe, target.endpoint, where.inventory, split(where.hosts),
        model, api_key_env, folder, beside,
    )  # fmt: skip
    view = None if shown.as_json else BenchyView()
    with shown.operator(view=view) as operator, as_ctrl_c():
        return measure(ask, operator).exit_code
