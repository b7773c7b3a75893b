"""The long parts of `lab up` by name, and how long each took the last time on this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

from spark_cluster.lab import layers
from spark_cluster.lab.layers import Say

_one_writer = threading.Lock()


@dataclass(frozen=True)
class Phase:
    """One phase that was finished: when (seconds since 1970), and how long it took (seconds)."""

    ended: float
    seconds: float


def known() -> dict[str, Phase]:
    """Every phase that was ever finished here, by name."""
    with suppress(TypeError):
        return {name: Phase(**each) for name, each in layers.noted("phases").items()}
    return {}


def words(seconds: float) -> str:
    """A duration as a person says it."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


@contextmanager
def phase(name: str, does: str, say: Say) -> Iterator[None]:
    """Announce a phase with the time it took before, and keep the time that it takes now."""
    before = known().get(name)
    hint = f" ({words(before.seconds)} last time here)" if before else ""
    say(f"{name}: {does}{hint}")
    started = time.monotonic()
    yield
    seconds = time.monotonic() - started
    done = Phase(time.time(), round(seconds, 1))
    with _one_writer:
        layers.note("phases", {k: asdict(v) for k, v in {**known(), name: done}.items()})
    say(f"{name}: done in {words(seconds)}")
