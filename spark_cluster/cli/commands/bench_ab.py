"""`spark-cluster bench ab RECIPE`: a recipe as it is against the same with a change."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from spark_cluster.cli.commands.bench_options import LoadOptions, OutputTokensOption, RunOptions
from spark_cluster.cli.options import (
    ArgOption,
    ContextOption,
    EnvOption,
    GroupOption,
    ImageOption,
    ProfileOption,
    RecipeArgument,
    Where,
    not_empty,
)
from spark_cluster.cli.output import Output
from spark_cluster.core.error import InputError
from spark_cluster.terminal.signals import as_ctrl_c


def ab(
    recipe: RecipeArgument,
    *,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option", metavar="NAME", help="B: turn on this option of the recipe (repeatable)."
        ),
    ] = None,
    arguments: ArgOption = None,
    env: EnvOption = None,
    image: ImageOption = None,
    context: ContextOption = None,
    group: GroupOption = None,
    profile: ProfileOption = None,
    both: Annotated[
        list[str] | None,
        typer.Option(
            "--with", metavar="NAME", help="Turn on this option on both sides (repeatable)."
        ),
    ] = None,
    anyway: Annotated[
        bool,
        typer.Option("--anyway", help="Launch even what is known to be broken or lint rejects."),
    ] = False,
    levels: Annotated[
        str, typer.Option("--levels", metavar="N,N", help="Numbers of concurrent requests.")
    ] = "1,64,256",
    input_tokens: Annotated[
        int, typer.Option("--input-tokens", min=1, help="Tokens per prompt.")
    ] = 128,
    output_tokens: OutputTokensOption = 64,
    load: LoadOptions,
    run: RunOptions,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep",
            metavar="better",
            help="Write B down as a recipe of your own, if it is better.",
        ),
    ] = None,
    where: Where,
    shown: Output,
) -> int:
    """Launch and measure a recipe as it is (A), then with a change (B), and compare.

    A is taken down before B is launched; B serves on. --option, --arg, --env, --image and --context
    are what B changes; --profile and --with are of both. Exit 4 if a side does not use RDMA.
    """
    from spark_cluster.actions.bench import Ask, numbers, settings
    from spark_cluster.actions.bench_ab import AskAb, Change, measure_ab
    from spark_cluster.actions.deploying import Choices, chosen_options
    from spark_cluster.cli.views.bench_ab import AbView
    from spark_cluster.recipes.overrides import Overrides

    if keep not in (None, "better"):
        raise InputError(f"--keep {keep}: not known", remedy="--keep better, or leave it out.")
    overrides = Overrides.typed(
        image=not_empty(image, "--image") or "",
        context=context,
        args=arguments or (),
        env=env or (),
    )
    chosen = settings(
        "sweep",
        numbers("--levels", levels, most=4096),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        **asdict(load),
    )
    ask = AskAb(
        recipe,
        Choices(group, profile, chosen_options(both), anyway),
        Change(chosen_options(option), overrides),
        Ask(chosen, **asdict(run)),
        keep is not None,
    )
    view = None if shown.as_json else AbView(verbose=shown.verbose)
    with shown.operator(goes_on=True, view=view) as operator, as_ctrl_c():
        return measure_ab(where.load(), ask, operator).exit_code
