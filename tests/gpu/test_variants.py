"""Other ways to launch: NCCL's whole story, AWQ, a pipeline."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .lives import assert_ready, ends
from .pair import Pair

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def afterwards(pair: Pair, phase: None) -> Iterator[None]:
    yield
    pair.teardown()


def test_debug(pair: Pair) -> None:
    """--debug: ready, and NCCL's lines on the machine's buses do not make devices soft-RoCE."""
    said = pair.launch("tiny", "--debug")
    pair.record.said(ends(said))
    assert_ready(said)
    assert "soft-RoCE" not in said.text, said


def test_awq(pair: Pair) -> None:
    """A model in AWQ is ready."""
    said = pair.launch("tiny-awq")
    pair.record.said(ends(said))
    assert_ready(said)


def test_pipeline(pair: Pair) -> None:
    """--pp: ready, and its tokens are seen on the rail; the stages talk over sockets."""
    said = pair.launch("tiny", "--pp")
    pair.record.said(ends(said))
    assert_ready(said)
