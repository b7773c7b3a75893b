"""`spark-cluster verify-rdma --from-log`: what the engine's logs say, without a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spark_cluster.rdma.from_log import Report
    from spark_cluster.rdma.owners import Owners


def from_log(names: Sequence[str], *, inventory: str | None, as_json: bool) -> int:
    """Read, judge, print. Exit 0 if every rank chose RDMA, 4 otherwise; InputError for a file that
    cannot be read, or when no file holds a line of NCCL's. Addresses are told with their hosts if
    an inventory is given or found."""

    from spark_cluster.cli.terminal import say_json
    from spark_cluster.core.error import InputError
    from spark_cluster.rdma.from_log import read
    from spark_cluster.rdma.log_notes import notes

    report = read({name: text_of(name) for name in dict.fromkeys(names)})
    if not report.ranks:
        raise InputError(
            "no rank of NCCL's in this log" if len(names) == 1 else "no rank of NCCL's in the logs",
            place=", ".join(names),
            remedy="Start the engine with NCCL_DEBUG=INFO (NCCL_DEBUG_SUBSYS=INIT,NET,ENV is "
            "enough) and take the whole log of this start: `docker logs --since "
            "\"$(docker inspect -f '{{.State.StartedAt}}' NAME)\" NAME > FILE 2>&1`.",
        )
    told = notes(report, known_owners(inventory))
    if as_json:
        say_json(report.as_dict(told))
    else:
        _show(report, told)
    return 0 if report.kind == "rdma" else 4


def known_owners(inventory: str | None) -> Owners:
    """The rails of the inventory that is given, or of the user's own; none if there is no such file
    or if it cannot be read: logs are read without it. The one that ships is nobody's, and its
    addresses are everybody's."""
    from spark_cluster import places
    from spark_cluster.core.error import InputError
    from spark_cluster.inventory import loader
    from spark_cluster.inventory.owners import owners

    try:
        path = loader.find(inventory)
        if inventory is None and path.parent == places.shipped("inventory"):
            return {}
        return owners(loader.load(path))
    except InputError:
        if inventory is not None:
            raise
        return {}


def text_of(name: str) -> str:
    """A file's text, or standard input's for `-`."""
    import sys
    from pathlib import Path

    from spark_cluster.core.error import InputError

    if name == "-":
        return sys.stdin.buffer.read().decode("utf-8", errors="replace")
    try:
        return Path(name).read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise InputError(
            f"cannot be read: {getattr(error, 'strerror', None) or 'no file has such a name'}",
            place=name,
            remedy="Name a file that holds an engine's log, or - for standard input.",
        ) from error


def _show(report: Report, notes: Sequence[str]) -> None:
    from spark_cluster.cli.terminal import Console
    from spark_cluster.cli.views.verdict import log_ranks

    console = Console()
    console.table(log_ranks(report.ranks))
    for note in notes:
        console.line(f"  {note}")
    console.line(f"verdict: {report.kind}")
    if report.kind == "rdma":
        console.line(
            "  This is what NCCL chose. Whether tokens go there is in the counters: "
            "spark-cluster verify-rdma"
        )
