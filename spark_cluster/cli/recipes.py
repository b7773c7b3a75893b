"""`spark-cluster recipes`: what can be served, and why it is set up so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from spark_cluster.cli.options import InventoryOption, JsonOption
from spark_cluster.places import short

if TYPE_CHECKING:
    from pathlib import Path

    from spark_cluster.recipes.models import Recipe

app = typer.Typer(help="List the recipes, or show one with its reasons.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def list_recipes(
    context: typer.Context, inventory: InventoryOption = None, as_json: JsonOption = False
) -> None:
    """List the recipes, or show one with its reasons."""
    if context.invoked_subcommand is not None:
        return
    import json

    from spark_cluster.recipes import loader

    own = _own(inventory)
    rows = [_load(name, own) for name in sorted(loader.known(own))]
    if as_json:
        typer.echo(json.dumps([_summary(recipe) for recipe in rows]))
        return
    for recipe in rows:
        typer.echo(f"{recipe.name:<20} {recipe.nodes} hosts  {recipe.engine:<10} {recipe.title}")
        if len(recipe.chain) > 1:
            typer.echo(f"{'':<20} {short(recipe.path)} extends {short(recipe.chain[1])}")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="RECIPE")],
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a recipe: every argument and variable with the reason for it."""
    import json

    recipe = _load(name, _own(inventory))
    if as_json:
        typer.echo(json.dumps({**recipe.model_dump(mode="json"), "path": str(recipe.path)}))
        return
    typer.echo(f"{recipe.name}: {recipe.title}")
    for path in recipe.chain:
        typer.echo(f"  file     {short(path)}")
    typer.echo(f"  image    {recipe.image} ({recipe.engine} {recipe.engine_version})")
    typer.echo(f"  model    {recipe.model}")
    typer.echo(
        f"  needs    {recipe.nodes} hosts, {recipe.requires.memory_gib:g} GiB memory and "
        f"{recipe.requires.disk_gib:g} GiB disk on each, {recipe.rails} rail"
    )
    for title, choices in (("arguments", recipe.args), ("environment", recipe.env)):
        typer.echo(f"  {title}")
        for key, choice in choices.items():
            prefix = "--" if title == "arguments" else ""
            value = "" if choice.value is True and prefix else f" {choice.text}"
            typer.echo(f"    {prefix}{key}{value}")
            if choice.why:
                typer.echo(f"        {choice.why}")
    for file in recipe.files:
        typer.echo(f"  mounts   {file.target}\n        {file.why}")
    for seen in recipe.measured:
        typer.echo(f"  measured {seen.what}: {seen.value} ({seen.where})")


def _own(inventory: str | None) -> dict[str, Path]:
    from spark_cluster.cli.running import load_inventory
    from spark_cluster.recipes.loader import own_recipes

    loaded = load_inventory(inventory)
    return own_recipes(loaded.path, loaded.recipes)


def _load(name: str, own: dict[str, Path]) -> Recipe:
    from spark_cluster.recipes.loader import load

    return load(name, own)


def _summary(recipe: Recipe) -> dict[str, object]:
    return {
        "name": recipe.name,
        "title": recipe.title,
        "engine": recipe.engine,
        "model": recipe.model,
        "nodes": recipe.nodes,
        "path": str(recipe.path),
        "extends": recipe.extends,
    }
