"""`spark-cluster compose RECIPE`: a recipe for one host as a docker compose file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from spark_cluster.cli.options import InventoryOption, ProfileOption, WithOption
from spark_cluster.cli.terminal import say, say_page


def register(app: typer.Typer) -> None:
    app.command("compose")(compose)


def compose(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="Recipe name or .yaml file.")],
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
    inventory: InventoryOption = None,
) -> None:
    """Write a recipe for one host as a docker compose file.

    The file starts what launch would start.
    """
    from spark_cluster.actions.deploying import (
        Choices,
        chosen_options,
        deploy,
        lint_notes,
        load_recipe,
    )
    from spark_cluster.actions.run import load_inventory
    from spark_cluster.core.error import InputError
    from spark_cluster.engines import compose as writer
    from spark_cluster.places import short
    from spark_cluster.runner.journal import new_run

    loaded = load_inventory(inventory)
    names = chosen_options(options, pp=False, debug=False, dual_rail=False)
    choices = Choices(profile=profile, options=names, anyway=anyway)
    found = load_recipe(loaded, recipe, choices)
    writer.refuse_several(found.name, found.asked, found.nodes, str(found.path))
    for note in lint_notes(found):
        say(note, err=True)
    anywhere = replace(choices, hosts=(next(iter(loaded.hosts)),))  # the file names no host
    deployment, _ = deploy(loaded, found, anywhere, new_run())
    text = writer.compose(deployment, anyway=anyway)
    if output is None:
        say_page(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot write {output}: {error.strerror}", remedy="Name another file with -o."
        ) from error
    say(f"wrote {short(output.absolute())}; next: docker compose -f {output} up -d")
