"""Which host has which model and image."""

from __future__ import annotations

from spark_cluster.actions import remedies
from spark_cluster.actions.copies import Held, HeldImages, HeldModel, HeldModels
from spark_cluster.cli.terminal import Console, add_row, new_table
from spark_cluster.core.units import human_bytes


def show_models(console: Console, found: HeldModels) -> None:
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
        console.table(shown)
    elif not found.unknown:
        what = f"no copy of {found.model}" if found.model else "no model"
        console.line(f"{what} is in {' or '.join(found.caches)}")
    for model, said in found.skew.items():
        console.line(f"skew: {model}: {said}")
    _unknown(console, found)


def _state(each: HeldModel) -> str:
    state = "complete" if each.complete else f"incomplete: {'; '.join(each.faults)}"
    others = [commit[:12] for commit in each.unfinished if commit != each.revision]
    if others:
        state += f"; {', '.join(others)} was begun and is not complete"
    if each.foreign_entries:
        state += f"; {each.foreign_entries} entries are not the SSH user's"
    return state


def show_images(console: Console, found: HeldImages) -> None:
    """A row an image and host, then which differ."""
    shown = new_table("image", "host", "id", "size", right=("size",))
    for each in found.images:
        add_row(shown, each.image, each.host, each.id[7:19], human_bytes(each.size_bytes))
    if found.images:
        console.table(shown)
    elif not found.unknown:
        console.line("docker has no such image on these hosts")
    for name, hosts in found.skew.items():
        parts = ", ".join(f"{image_id[7:19]} on {host}" for host, image_id in hosts.items())
        console.line(
            f"skew: {name}: {parts}; `spark-cluster image sync {name} --from HOST` "
            "makes them the same"
        )
    _unknown(console, found)


def _unknown(console: Console, found: Held) -> None:
    nexts = remedies.after(found.remedies)
    for host, why in found.unknown.items():
        console.line(f"unknown: {host}: {why}")
        if host in nexts:
            console.line(f"  next: {nexts[host]}")
