"""`spark-cluster image`: which host has which container image, and the same one on all ranks."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_cluster.cli.grouped import grouped
from spark_cluster.cli.options import FromOption, Hosts, Route, ToOption, Where, split
from spark_cluster.cli.output import Json, Output
from spark_cluster.cli.sections import Group

app = typer.Typer(
    cls=Group,
    help="List and copy container images on the hosts.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("ls")
@grouped
def list_images(
    image: Annotated[
        str | None, typer.Argument(metavar="[IMAGE]", help="Limit to this image, or to a recipe's.")
    ] = None,
    *,
    where: Hosts,
    output: Json,
) -> int:
    """Show the images of each host, and which differ between hosts."""
    from spark_cluster.actions import copies
    from spark_cluster.cli.terminal import Console
    from spark_cluster.cli.views.held import show_images

    loaded = where.load()
    with output.operator() as operator:
        found = copies.list_images(loaded, where.select(loaded), operator, image=image)
    output.json(found)
    if not output.as_json:
        show_images(Console(), found)
    return 3 if found.unknown else 0


@app.command("sync")
@grouped
def sync(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Image name, or a recipe.")],
    *,
    to: ToOption = None,
    source: FromOption = None,
    route: Route,
    where: Where,
    output: Output,
) -> int:
    """Copy an image over the fabric from one host to the others."""
    from spark_cluster.actions import copies

    loaded = where.load()
    with output.operator(goes_on=True) as operator:
        return copies.sync_image(
            loaded, image, operator, to=split(to, "--to"), source=source, way=route.way()
        ).exit_code
