"""Which host has which model and image."""

from __future__ import annotations

from collections.abc import Iterator

from spark_cluster.actions.copies import HeldImages, HeldModel, HeldModels
from spark_cluster.cli.views.unknown import unknown
from spark_cluster.core.units import human_bytes
from spark_cluster.terminal.printing import Shown, add_row, new_table


def models(found: HeldModels) -> Iterator[Shown]:
    """A row a copy, then how copies differ."""
    apart = any(each.cache != found.caches[0] for each in found.models)
    titles = ("model", "host", *(["cache"] if apart else []), "revision", "size", "state")
    shown = new_table(*titles, right=("size",))
    for each in found.models:
        add_row(
            shown, each.model, each.host, *([each.cache] if apart else []),
            each.revision[:12] or "none", human_bytes(each.size_bytes), _state(each),
        )  # fmt: skip
    if found.models:
        yield shown
    elif not found.unknown:
        what = f"no copy of {found.model}" if found.model else "no model"
        yield f"{what} is in {' or '.join(found.caches)}"
    for model, said in found.skew.items():
        yield f"skew: {model}: {said}"
    yield from unknown(found.unknown, found.remedies)


def _state(each: HeldModel) -> str:
    state = "complete" if each.complete else f"incomplete: {'; '.join(each.faults)}"
    others = [commit[:12] for commit in each.unfinished if commit != each.revision]
    if others:
        state += f"; {', '.join(others)} was begun and is not complete"
    if each.foreign_entries:
        state += f"; {each.foreign_entries} entries are not the SSH user's"
    return state


def images(found: HeldImages) -> Iterator[Shown]:
    """A row an image and host, then which differ."""
    shown = new_table("image", "host", "id", "size", right=("size",))
    for each in found.images:
        add_row(shown, each.image, each.host, each.id[7:19], human_bytes(each.size_bytes))
    if found.images:
        yield shown
    elif not found.unknown:
        yield "docker has no such image on these hosts"
    for name, hosts in found.skew.items():
        parts = ", ".join(f"{image_id[7:19]} on {host}" for host, image_id in hosts.items())
        again = f"`spark-cluster image sync {name} --from HOST` makes them the same"
        yield f"skew: {name}: {parts}; {again}"
    yield from unknown(found.unknown, found.remedies)
