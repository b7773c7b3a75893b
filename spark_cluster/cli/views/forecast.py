"""How what will be fetched is shown: bytes and time per part, and what the time comes from."""

from __future__ import annotations

from collections.abc import Iterator

from spark_cluster.actions.prepare import Forecast, ForecastPart
from spark_cluster.core.units import human_bytes, human_seconds
from spark_cluster.terminal.printing import Shown


def lines(event: Forecast) -> Iterator[Shown]:
    """Nothing is missing, or a line or two for each part, and the sum."""
    if not event.parts:
        yield "  nothing is missing: the image and the model are on every host"
    for part in event.parts:
        yield "  ", ("missing", "yellow"), "     ", (f"{part.what} {part.name}", "bold")
        yield f"                {_way(part)}: {_amount(part.bytes, part.seconds)} ({part.basis})"
    for why in event.unknown:
        yield f"                not known: {why}"
    for host, why in event.no_room.items():
        yield f"                in the way on {host}: {why}"
    if event.parts:
        yield ("forecast", "bold"), f": {_amount(event.bytes, event.seconds)}"


def _way(part: ForecastPart) -> str:
    where = ", ".join(part.hosts)
    return f"download on {where}" if part.way == "download" else f"{part.source} to {where}"


def _amount(size: int | None, seconds: float | None) -> str:
    much = "size unknown" if size is None else human_bytes(size)
    return f"{much}, {'time unknown' if seconds is None else f'about {human_seconds(seconds)}'}"
