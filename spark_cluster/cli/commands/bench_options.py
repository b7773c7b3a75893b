"""The options that the benchmarks share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from spark_cluster.cli.durations import duration

RecipeArgument = Annotated[
    str | None,
    typer.Argument(metavar="[RECIPE]", help="Recipe that must be running; default: any."),
]
EndpointOption = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        metavar="URL",
        help="OpenAI-compatible API to measure instead of the inventory's.",
    ),
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Model name, if the server has several.")
]
KeyOption = Annotated[
    str | None,
    typer.Option("--api-key-env", metavar="NAME", help="Environment variable with the API key."),
]
RequestsOption = Annotated[
    int | None,
    typer.Option("--requests", min=1, help="Requests per level, at least as many as run at once."),
]
SecondsOption = Annotated[
    float | None,
    typer.Option(
        "--seconds",
        metavar="TIME",
        parser=duration("--seconds", least=0.1),
        help="Time to start new requests for, instead of --requests.",
    ),
]
WarmUpOption = Annotated[
    int | None,
    typer.Option("--warm-up", min=0, help="Uncounted requests before each level."),
]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of the prompts.")]
SaltOption = Annotated[
    str | None,
    typer.Option(
        "--salt", help="Salt of the prompts; default: the run's name (docs/benchmarks.md)."
    ),
]
StallOption = Annotated[
    float,
    typer.Option(
        "--stall",
        metavar="TIME",
        parser=duration("--stall", least=0.1),
        help="Time without a token after which a request has failed; default: 10m, for "
        "prefill 20m.",
        show_default=False,
    ),
]
SampleOption = Annotated[
    float,
    typer.Option(
        "--sample",
        metavar="TIME",
        parser=duration("--sample", least=0.5, most=600),
        help="Time between GPU readings; default: 5s.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output", metavar="DIR", help="Folder for the results; default: benchmark_results."
    ),
]
ConcurrencyOption = Annotated[
    int, typer.Option("--concurrency", min=1, max=4096, help="Concurrent requests.")
]
OutputTokensOption = Annotated[
    int, typer.Option("--output-tokens", min=1, help="Tokens per answer.")
]


@dataclass(frozen=True)
class LoadOptions:
    """How much each level asks of the server."""

    requests: RequestsOption = None
    seconds: SecondsOption = None
    warm_up: WarmUpOption = None
    seed: SeedOption = 0
    salt: SaltOption = None


@dataclass(frozen=True)
class RunOptions:
    """Which model on which hosts, what is read beside the load, and where the results go."""

    model: ModelOption = None
    api_key_env: KeyOption = None
    sample: SampleOption = 5.0
    output: OutputOption = None
