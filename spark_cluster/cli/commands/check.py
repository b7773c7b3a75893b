"""`spark-cluster check`: does the server do what its users need?"""

from __future__ import annotations

from typing import Annotated

import typer

from spark_cluster.cli.commands.bench_options import KeyOption, ModelOption, RecipeArgument
from spark_cluster.cli.durations import duration
from spark_cluster.cli.grouped import grouped
from spark_cluster.cli.options import Hosts, not_empty, split
from spark_cluster.cli.output import Json

EndpointOption = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        metavar="URL",
        help="OpenAI-compatible API to check instead of the inventory's.",
    ),
]
OnlyOption = Annotated[
    str | None,
    typer.Option(
        "--only",
        metavar="NAME,NAME",
        help="Run only these checks: chat, stream, tools, reasoning, json, image, long, too-long, "
        "together, cancel.",
    ),
]
LongestOption = Annotated[
    int | None,
    typer.Option(
        "--longest-prompt",
        metavar="TOKENS",
        min=64,
        max=10**7,
        help="Longest prompt of the check long; default: 90 % of the context, at most 32768.",
    ),
]
TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout",
        metavar="TIME",
        parser=duration("--timeout", least=1, most=3600),
        help="Time that each request has; default: 5m.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    app.command("check")(check)


@grouped
def check(
    *,
    recipe: RecipeArgument = None,
    endpoint: EndpointOption = None,
    only: OnlyOption = None,
    longest_prompt: LongestOption = None,
    timeout: TimeoutOption = 300.0,
    model: ModelOption = None,
    api_key_env: KeyOption = None,
    where: Hosts,
    shown: Json,
) -> int:
    """Check that a running server does what its users need. Exit 4 if a check fails.

    Asks for a chat, a stream, a tool call, reasoning, JSON, an image, long prompts, two answers at
    once, and cancels one. Changes nothing.
    """
    from spark_cluster.actions import check as action
    from spark_cluster.actions.bench_place import key_in
    from spark_cluster.actions.check_requests import Limits
    from spark_cluster.cli.views.check import View
    from spark_cluster.core.error import InputError

    chosen = action.only(only)
    not_empty(recipe)
    if recipe is not None and endpoint is not None:
        raise InputError(
            "a recipe and --endpoint do not go together",
            remedy="A recipe is looked for on the inventory's hosts; --endpoint needs none.",
        )
    asked = action.Asked(chosen, model, key_in(api_key_env), Limits(longest_prompt, timeout))
    with shown.operator(view=None if shown.as_json else View()) as operator:
        if endpoint is not None:
            return action.at_endpoint(endpoint, asked, operator).exit_code
        hosts = split(where.hosts)
        return action.launched(where.load(), recipe, hosts, asked, operator).exit_code
