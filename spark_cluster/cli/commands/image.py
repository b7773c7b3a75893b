"""`spark-cluster image`: which host has which container image, and the same one on all ranks."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from spark_cluster.cli.options import (
    EncryptOption,
    FromOption,
    Hosts,
    IperfOption,
    ToOption,
    Where,
    split,
)
from spark_cluster.cli.output import Json, Output
from spark_cluster.cli.sections import Verbs

app = Verbs("image", "List, pull and copy container images on the hosts.")


@app.verb("ls")
def list_images(
    image: Annotated[
        str | None, typer.Argument(metavar="IMAGE", help="Limit to this image, or to a recipe's.")
    ] = None,
    *,
    where: Hosts,
    output: Json,
) -> int:
    """Show the images of each host, and which differ between hosts."""
    from spark_cluster.actions import copies
    from spark_cluster.cli.views.held import images

    return output.look(partial(copies.list_images, *where.load_hosts(), image=image), images)


@app.verb()
def pull(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Image name, or a recipe.")],
    *,
    to: ToOption = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            metavar="HOST",
            help="Host to pull on; default: one that has the image, else the first.",
        ),
    ] = None,
    encrypt: EncryptOption = False,
    iperf: IperfOption = False,
    where: Where,
    output: Output,
) -> int:
    """Pull an image once and copy it to the other hosts.

    docker pulls, with what `docker login` left on that host. A name with a digest must name what
    came: exit 1 if not.
    """
    from spark_cluster.actions import copies

    act = partial(
        copies.pull_image, where.load(), image,
        to=split(to, "--to"), on=on, way=copies.Way(encrypt, iperf),
    )  # fmt: skip
    return output.act(act)


@app.verb()
def sync(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Image name, or a recipe.")],
    *,
    to: ToOption = None,
    source: FromOption = None,
    encrypt: EncryptOption = False,
    iperf: IperfOption = False,
    where: Where,
    output: Output,
) -> int:
    """Copy an image over the fabric from one host to the others."""
    from spark_cluster.actions import copies

    way = copies.Way(encrypt, iperf)
    act = partial(
        copies.sync_image, where.load(), image, to=split(to, "--to"), source=source, way=way
    )
    return output.act(act)
