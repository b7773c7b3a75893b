"""`spark-cluster model`: what each host has of which model, and bringing it where it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from spark_cluster.cli.grouped import grouped
from spark_cluster.cli.options import FromOption, Hosts, Route, ToOption, Where, split
from spark_cluster.cli.output import Json, Output
from spark_cluster.cli.sections import Group
from spark_cluster.cli.terminal import confirm

if TYPE_CHECKING:
    from collections.abc import Mapping

app = typer.Typer(
    cls=Group,
    help="List, download, copy, verify and remove models on the hosts.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

ModelArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="ORG/NAME on the hub, or a recipe that names the model."),
]
CacheOption = Annotated[
    str | None,
    typer.Option(
        "--cache",
        metavar="FOLDER",
        help="Cache folder on the hosts; default: that of the recipes with this model, or "
        "~/.cache/huggingface.",
    ),
]
RevisionOption = Annotated[
    str | None,
    typer.Option(
        "--revision",
        metavar="REF",
        help="Branch, tag or commit; default: the recipe's, or main.",
    ),
]
StreamsOption = Annotated[
    int, typer.Option("--streams", min=1, max=64, help="Files to copy in parallel.")
]


@app.command("ls")
@grouped
def list_models(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="Limit to this model.")
    ] = None,
    *,
    cache: CacheOption = None,
    where: Hosts,
    output: Json,
) -> int:
    """Show which models each host has, and where hosts differ.

    Looks in ~/.cache/huggingface and in the folders of all recipes, unless one is named.
    """
    from spark_cluster.actions import copies
    from spark_cluster.cli.terminal import Console
    from spark_cluster.cli.views.held import show_models

    loaded = where.load()
    with output.operator() as operator:
        hosts = where.select(loaded)
        found = copies.list_models(loaded, hosts, operator, model=model, cache=cache)
    output.json(found)
    if not output.as_json:
        show_models(Console(), found)
    return 3 if found.unknown else 0


@app.command("pull")
@grouped
def pull(
    model: ModelArgument,
    *,
    to: ToOption = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            metavar="HOST",
            help="Host to download on; default: the one that has most of it.",
        ),
    ] = None,
    revision: RevisionOption = None,
    image: Annotated[
        str | None,
        typer.Option(
            "--image",
            help="Image to download in if the host has no `hf`; default: the recipe's.",
        ),
    ] = None,
    streams: StreamsOption = 8,
    route: Route,
    cache: CacheOption = None,
    where: Where,
    output: Output,
) -> int:
    """Download a model once and copy it to the other hosts.

    Run it again after a break: files that are whole stay. $HF_TOKEN and $HF_ENDPOINT are handed on.
    """
    from spark_cluster.actions import copies

    loaded = where.load()
    named = copies.named_model(loaded, model, cache, revision)
    with output.operator(goes_on=True) as operator:
        return copies.pull_model(
            loaded, named, operator,
            to=split(to, "--to"), on=on, image=image, way=route.way(streams),
        ).exit_code  # fmt: skip


@app.command("sync")
@grouped
def sync(
    model: ModelArgument,
    *,
    to: ToOption = None,
    source: FromOption = None,
    revision: RevisionOption = None,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep", help="Also hash files that the hosts already have, and replace wrong ones."
        ),
    ] = False,
    streams: StreamsOption = 8,
    route: Route,
    cache: CacheOption = None,
    where: Where,
    output: Output,
) -> int:
    """Copy a model over the fabric from a host that has it to the others.

    Every file is verified by its hash; the ref comes last, so that no host shows half a model.
    """
    from spark_cluster.actions import copies

    loaded = where.load()
    named = copies.named_model(loaded, model, cache, revision)
    with output.operator(goes_on=True) as operator:
        return copies.sync_model(
            loaded, named, operator,
            to=split(to, "--to"), source=source, deep=deep, way=route.way(streams),
        ).exit_code  # fmt: skip


@app.command("verify")
@grouped
def verify(model: ModelArgument, *, cache: CacheOption = None, where: Hosts, output: Output) -> int:
    """Verify the files of a model against their hashes. Exit 4 if one differs."""
    from spark_cluster.actions import copies

    loaded = where.load()
    named = copies.named_model(loaded, model, cache)
    with output.operator(goes_on=True) as operator:
        return copies.verify_model(loaded, named, where.select(loaded), operator).exit_code


@app.command("rm")
@grouped
def remove(
    model: ModelArgument,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
    cache: CacheOption = None,
    where: Hosts,
    output: Output,
) -> int:
    """Remove a model from the hosts' caches. Asks first, and refuses while it is served."""
    from spark_cluster.actions import copies
    from spark_cluster.core.units import human_bytes

    loaded = where.load()
    named = copies.named_model(loaded, model, cache)

    def agree(held: Mapping[str, int]) -> None:
        if not yes:
            sizes = ", ".join(f"{human_bytes(size)} on {host}" for host, size in held.items())
            _confirm(f"Remove {named.name} ({sizes})?")

    with output.operator(goes_on=True) as operator:
        return copies.remove_model(
            loaded, named, where.select(loaded), operator,
            agree=agree, all_needed=where.hosts is not None,
        ).exit_code  # fmt: skip


def _confirm(question: str) -> None:
    """Raises InputError when there is nobody to ask, Interrupted for a no."""
    import sys

    from spark_cluster.core.error import InputError, Interrupted

    if not sys.stdin.isatty():
        raise InputError(
            f"{question} There is no terminal to ask on.", remedy="Say --yes if you mean it."
        )
    if not confirm(question):
        raise Interrupted("nothing was removed", remedy="Run it again to remove it after all.")
