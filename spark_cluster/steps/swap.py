"""Swap off (or on again). On unified memory a swapped-out GPU process stalls the host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import field_validator

from spark_cluster.core.shell import quote
from spark_cluster.core.step import Assessment, Change, found, skip
from spark_cluster.core.units import human_bytes
from spark_cluster.document import Document, word
from spark_cluster.facts.memory import LARGE, LEAST, MEMORY, SWAP
from spark_cluster.steps.base import problem, step
from spark_cluster.steps.view import View


class Params(Document):
    """`state` now: off, on (what /etc/fstab names), keep; recipe is off but for a recipe that says
    `swap: on`. `at_boot`: off comments fstab's swap lines out, with a backup beside it."""

    state: Literal["off", "on", "keep", "recipe"] = "off"
    at_boot: Literal["keep", "off"] = "keep"

    _words = field_validator("state", "at_boot", mode="before")(word)


@step(
    "swap",
    "Set the swap",
    Params,
    reads=(SWAP, MEMORY),
    titles={
        "off": "Turn the swap off",
        "on": "Turn the swap on",
        "keep": "Leave the swap as it is",
        "recipe": "Turn the swap off, unless the recipe needs it",
    },
    affects=(SWAP, MEMORY),
    timeout=600.0,
)
def swap(view: View, params: Params) -> Assessment:
    if params.state == "recipe":
        params = params.model_copy(update={"state": view.serving.swap})
    if params.state == "keep" and params.at_boot == "keep":
        return skip("left as it is")
    if not view.facts[SWAP].read:
        return found(problem("HOST003", "/proc/swaps could not be read"))
    if params.state == "off" and (full := _no_room(view)):
        return found(problem("SERVE001", full))
    return Assessment(changes=(*_now(view, params), *_at_boot(view, params)))


def _no_room(view: View) -> str:
    """Why swap cannot be turned off: what is swapped out comes back into memory, and a Spark that
    runs out of that freezes."""
    memory, used = view.facts[MEMORY], view.facts[SWAP].used
    least = LEAST if memory.total >= LARGE else 0
    if not used or not memory.total or memory.available - used >= least:
        return ""
    return (
        f"{human_bytes(used)} are swapped out and {human_bytes(memory.available)} of memory are "
        "available: turning swap off would leave too little"
    )


def _now(view: View, params: Params) -> Iterator[Change]:
    swap = view.facts[SWAP]
    if params.state == "off":
        for device, size in swap.active.items():
            yield Change(
                f"swap {device}", f"on, {human_bytes(size)}", "off", f"swapoff {quote(device)}\n"
            )
    # fstab may name a device by UUID or LABEL, /proc/swaps never does: then only the number counts.
    missing = [name for line in swap.boot if (name := line.split()[0]) not in swap.active][
        : max(len(swap.boot) - len(swap.active), 0)
    ]
    if params.state == "on":
        for name in missing:
            yield Change(f"swap {name}", "off", "on", f"swapon {quote(name)}\n")


def _at_boot(view: View, params: Params) -> Iterator[Change]:
    boot = view.facts[SWAP].boot
    if params.at_boot == "off" and boot:
        # \s is GNU sed's; the hosts are Ubuntu or Debian.
        expression = r"s@^([^#].*\sswap\s.*)$@# off by spark-cluster: \1@"
        yield Change(
            "/etc/fstab",
            f"{len(boot)} swap lines",
            "commented out (backup: /etc/fstab.spark-cluster)",
            "cp -p /etc/fstab /etc/fstab.spark-cluster\n"
            f"sed -i -E {quote(expression)} /etc/fstab\n",
        )
