"""Starts that must fail, each for its reason, which `launch` names, whoever's log has it."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from . import image, settings
from .lives import ends, failure
from .pair import Pair
from .program import Said

pytestmark = pytest.mark.gpu

#: Bytes that somebody else holds on the worker's GPU: with them nine tenths of it are not free.
_HELD = 60 * 2**30

_HOLD = f"""\
import time, torch
held = torch.empty({_HELD}, dtype=torch.uint8, device="cuda:0")
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def afterwards(pair: Pair, phase: None) -> Iterator[None]:
    yield
    pair.teardown()


#: By recipe: what the program must say of it.
_REASONS = {
    "fail-arg": r"refused its arguments: .*no-such-flag",
    "fail-cache": r"not in the host's cache",
    "tiny-mp-ib": r"no usable RDMA device",
    "tiny-ib": r"no usable RDMA device",
    "fail-kv": r"KV cache is too small for one request",
    "fail-util": r"no memory was left for the KV cache",
}


@pytest.mark.parametrize("recipe", _REASONS)
def test_start(pair: Pair, recipe: str) -> None:
    """`launch` fails before the server is ready, and says why."""
    if recipe == "fail-util" and settings.is_standin():
        pytest.skip("the stand-in has no memory of a GPU")
    check(pair, recipe, _REASONS[recipe])


@pytest.mark.parametrize("recipe", ["fail-mem", "fail-mem-ray"])
def test_too_little_memory(pair: Pair, recipe: str) -> None:
    """Somebody holds the worker's GPU: its own log says so, and `launch` tells which host."""
    if settings.is_standin():
        pytest.skip("the stand-in has no memory of a GPU")
    with _memory_held(pair):
        said = check(pair, recipe, r"too little free memory")
    if pair.head.gpu != pair.worker.gpu:  # else the head has no more of it than the worker
        assert re.search(r"spark-3|vllm-worker|rank 1", " ".join(said.problems)), said


def check(pair: Pair, recipe: str, reason: str) -> Said:
    said = pair.launch(recipe, seconds=200)
    pair.record.said(ends(said))
    assert said.code not in (0, 2), said
    found = failure(said)
    assert re.search(reason, found), f"not {reason!r} but {found!r}"
    return said


@contextlib.contextmanager
def _memory_held(pair: Pair) -> Iterator[None]:
    env = image.environment(pair.folder / "pair" / "image")
    variables = [f"{name}={value}" for name, value in env.items()]
    holder = subprocess.Popen(
        [*pair.worker.enter, *variables, sys.executable, "-c", _HOLD],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "held"
        yield
    finally:
        holder.kill()
        holder.wait()
