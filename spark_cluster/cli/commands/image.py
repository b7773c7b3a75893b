"""`spark-cluster image`: which host has which container image, and the same one on all ranks."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_cluster.cli.options import (
    EncryptOption,
    FromOption,
    HostsOption,
    InventoryOption,
    IperfOption,
    JsonOption,
    ToOption,
    VerboseOption,
    split,
)
from spark_cluster.cli.sections import Group
from spark_cluster.cli.terminal import say_json

app = typer.Typer(
    cls=Group,
    help="List and copy container images on the hosts.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("ls")
def list_images(
    image: Annotated[
        str | None, typer.Argument(metavar="[IMAGE]", help="Limit to this image, or to a recipe's.")
    ] = None,
    inventory: InventoryOption = None,
    hosts: HostsOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show the images of each host, and which differ between hosts."""

    from spark_cluster.cli.running import load_inventory, read_hosts
    from spark_cluster.cli.terminal import Console
    from spark_cluster.cli.views.transfer import images_data, show_images
    from spark_cluster.facts.models import IMAGES
    from spark_cluster.inventory.loader import select
    from spark_cluster.recipes.loader import own_recipes
    from spark_cluster.recipes.naming import image_of

    loaded = load_inventory(inventory)
    wanted = image_of(image, own_recipes(loaded.path, loaded.recipes)) if image else None
    found = read_hosts(loaded, select(loaded, split(hosts)), [IMAGES])
    data = images_data(found, wanted)
    if as_json:
        say_json({"kind": "images", "inventory": str(loaded.path), **data})
    else:
        show_images(Console(), data)
    return 3 if data["unknown"] else 0


@app.command("sync")
def sync(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Image name, or a recipe.")],
    to: ToOption = None,
    source: FromOption = None,
    encrypt: EncryptOption = False,
    iperf: IperfOption = False,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Copy an image over the fabric from one host to the others."""
    from spark_cluster.actions.copying import copy_request
    from spark_cluster.cli.running import activate, load_inventory
    from spark_cluster.cli.views.transfer import finish
    from spark_cluster.core.error import InputError
    from spark_cluster.recipes.loader import own_recipes
    from spark_cluster.recipes.naming import image_of
    from spark_cluster.runner.images import Images
    from spark_cluster.runner.transfer import Transfer

    loaded = load_inventory(inventory)
    name = image_of(image, own_recipes(loaded.path, loaded.recipes))
    if "@" in name:
        raise InputError(
            f"{name} cannot be copied: docker keeps no digest when it saves and loads an image",
            remedy=f"On each host: docker pull {name}",
        )
    request, wanted, preferred = copy_request(
        "image sync",
        loaded,
        name,
        to=split(to, "--to"),
        source=source,
        as_json=as_json,
        verbose=verbose,
    )
    with activate(request) as active:
        transfer = Transfer(active.session, active.bus, encrypt, iperf)
        results = Images(transfer, loaded, request.verb, name).sync(wanted, preferred)
        return finish(active, results, transfer, {"image": name})
