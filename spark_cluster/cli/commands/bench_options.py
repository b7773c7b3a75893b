"""The options that the benchmarks share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from spark_cluster.cli.durations import time_option

ConcurrencyOption = Annotated[
    int, typer.Option("--concurrency", min=1, max=4096, help="Concurrent requests.")
]
OutputTokensOption = Annotated[
    int, typer.Option("--output-tokens", min=1, help="Tokens per answer.")
]


@dataclass(frozen=True)
class Target:
    """The server to measure."""

    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help="Recipe that must be running; default: any."),
    ] = None
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint",
            metavar="URL",
            help="OpenAI-compatible API to measure instead of the inventory's.",
        ),
    ] = None


@dataclass(frozen=True)
class LoadOptions:
    """How much each level asks of the server."""

    requests: Annotated[
        int | None,
        typer.Option(
            "--requests", min=1, help="Requests per level, at least as many as run at once."
        ),
    ] = None
    seconds: Annotated[
        float | None,
        time_option(
            "--seconds", "Time to start new requests for, instead of --requests.", least=0.1
        ),
    ] = None
    warm_up: Annotated[
        int | None, typer.Option("--warm-up", min=0, help="Uncounted requests before each level.")
    ] = None
    seed: Annotated[int, typer.Option("--seed", help="Seed of the prompts.")] = 0
    salt: Annotated[
        str | None,
        typer.Option(
            "--salt", help="Salt of the prompts; default: the run's name (docs/benchmarks.md)."
        ),
    ] = None
    stall: Annotated[
        float | None,
        time_option(
            "--stall",
            "Time without a token after which a request has failed; default: 10m, for prefill 20m.",
            least=0.1,
        ),
    ] = None


@dataclass(frozen=True)
class RunOptions:
    """Which model on which hosts, what is read beside the load, and where the results go."""

    model: Annotated[
        str | None, typer.Option("--model", help="Model name, if the server has several.")
    ] = None
    api_key_env: Annotated[
        str | None,
        typer.Option(
            "--api-key-env", metavar="NAME", help="Environment variable with the API key."
        ),
    ] = None
    sample: Annotated[
        float,
        time_option(
            "--sample",
            "Time between GPU readings; default: 5s.",
            least=0.5,
            most=600,
            show_default=False,
        ),
    ] = 5.0
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="DIR", help="Folder for the results; default: benchmark_results."
        ),
    ] = None
