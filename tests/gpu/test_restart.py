"""`watch --restart` alone: it brings back what a killed rank took down."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from .lives import PATIENCE, Life
from .pair import Pair

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def begun(pair: Pair) -> Iterator[Life]:
    life = Life(pair, "tiny-mp")
    yield life
    life.end()


@pytest.fixture
def life(begun: Life, phase: None) -> Life:
    begun.need()
    return begun


def test_watch_restarts(life: Life) -> None:
    """The dead rank is told, evidence collected, then relaunched; a canary answers."""
    pair = life.pair
    with pair.watching("--interval", "3", "--restart", patience=PATIENCE) as watching:
        watching.until(r"watching", 30)
        pair.signal_rank(pair.worker, signal.SIGKILL)
        pair.record.said(watching.until(r"began critical (?:dead-rank|silent)", 60))
        watching.until(r"evidence: ", 120)
        pair.record.said(watching.until(r"restarting tiny-mp because of", 60))
        pair.eventually(lambda: pair.canary(5).ok, 300, "it serves again")
        pair.record.said(watching.until(r"launch ended with exit code", 60))
    pair.grab()
