"""`spark-cluster compose RECIPE`: a recipe for one host as a docker compose file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spark_cluster.cli.options import ProfileOption, RecipeArgument, Where, WithOption
from spark_cluster.terminal.printing import say, say_page


def compose(
    recipe: RecipeArgument,
    *,
    profile: ProfileOption = None,
    options: WithOption = None,
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway", help="Write even if the recipe is known to be broken or lint rejects it."
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="File to write instead of standard output."
        ),
    ] = None,
    where: Where,
) -> None:
    """Write a recipe for one host as a docker compose file.

    The file starts what launch would start.
    """
    from spark_cluster.actions import compose as action
    from spark_cluster.actions.deploying import Choices, chosen_options
    from spark_cluster.places import short

    choices = Choices(profile=profile, options=chosen_options(options), anyway=anyway)
    made = action.compose(where.load(), recipe, choices)
    for note in made.notes:
        say(note, err=True)
    if output is None:
        say_page(made.text)
        return
    made.write(output)
    say(f"wrote {short(output.absolute())}; next: docker compose -f {output} up -d")
