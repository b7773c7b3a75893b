"""`spark-cluster check`: does the server do what its users need?"""

from __future__ import annotations

from typing import Annotated

import typer

from spark_cluster.cli.commands.bench_options import Target
from spark_cluster.cli.durations import time_option
from spark_cluster.cli.options import Hosts, not_empty, split
from spark_cluster.cli.output import Json


def check(
    *,
    target: Target,
    only: Annotated[
        str | None,
        typer.Option(
            "--only",
            metavar="NAME,NAME",
            help="Run only these checks: chat, stream, tools, reasoning, json, image, long, "
            "too-long, together, cancel.",
        ),
    ] = None,
    longest_prompt: Annotated[
        int | None,
        typer.Option(
            "--longest-prompt",
            metavar="TOKENS",
            min=64,
            max=10**7,
            help="Longest prompt of the check long; default: 90 % of the context, at most 32768.",
        ),
    ] = None,
    timeout: Annotated[
        float,
        time_option(
            "--timeout",
            "Time that each request has; default: 5m.",
            least=1,
            most=3600,
            show_default=False,
        ),
    ] = 300.0,
    model: Annotated[
        str | None, typer.Option("--model", help="Model name, if the server has several.")
    ] = None,
    api_key_env: Annotated[
        str | None,
        typer.Option(
            "--api-key-env", metavar="NAME", help="Environment variable with the API key."
        ),
    ] = None,
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
    from spark_cluster.cli.views.check import CheckView
    from spark_cluster.core.error import InputError

    chosen = action.only(only)
    not_empty(target.recipe)
    if target.recipe is not None and target.endpoint is not None:
        raise InputError(
            "a recipe and --endpoint do not go together",
            remedy="A recipe is looked for on the inventory's hosts; --endpoint needs none.",
        )
    asked = action.Asked(chosen, model, key_in(api_key_env), Limits(longest_prompt, timeout))
    with shown.operator(view=None if shown.as_json else CheckView()) as operator:
        if target.endpoint is not None:
            return action.at_endpoint(target.endpoint, asked, operator).exit_code
        hosts = split(where.hosts)
        return action.launched(where.load(), target.recipe, hosts, asked, operator).exit_code
