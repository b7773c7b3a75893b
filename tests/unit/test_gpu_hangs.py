"""nvidia-smi that hangs in the kernel: what is read without it, by a real shell."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from spark_cluster.core.shell import unwaited
from spark_cluster.facts import probe
from spark_cluster.facts.gpu import GPU, SMI_SECONDS
from spark_cluster.facts.gpu_state import GPU_STATE
from spark_cluster.facts.memory import MEMORY

from .cases import write
from .world import context

#: It keeps what it was given open when it is killed, as a process does that waits in the kernel.
STUCK = """\
echo "$@" >>"$CALLS"
setsid sleep 60 &
echo $! >"$CALLS.pid"
wait
"""

ANSWERS = """\
case "$*" in
  *event_reasons*) echo "Field is not valid"; exit 2 ;;
  *throttle_reasons*) echo "2100, 3003, 31.20, 96, 61, 0x0" ;;
  *query-gpu*) echo "NVIDIA GB10, 580.95.05" ;;
  *pid,process_name*) echo "4877, python3" ;;
  *=pid*) echo 1 ;;
esac
"""


def read(folder: Path, smi: str, shell: str = "sh") -> str:
    """A probe of the GPU's facts and one more, with this nvidia-smi, which has a second."""
    write(folder / "bin/nvidia-smi", f"#!/bin/sh\n{smi}").chmod(0o755)
    script = probe.script((GPU, GPU_STATE, MEMORY), context())
    patient = unwaited("_smi", "nvidia-smi", SMI_SECONDS)
    assert script.count(patient) == 2
    return subprocess.run(
        [shell, "-s"], input=script.replace(patient, unwaited("_smi", "nvidia-smi", 1)),
        text=True, capture_output=True, check=True, timeout=30,
        env={"PATH": f"{folder}/bin:{os.environ['PATH']}", "CALLS": f"{folder}/calls"},
    ).stdout  # fmt: skip


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_driver_that_hangs_does_not_hang_the_probe(tmp_path: Path, shell: str) -> None:
    started = time.monotonic()
    try:
        text = read(tmp_path, STUCK, shell)
        assert time.monotonic() - started < 15
    finally:
        os.kill(int((tmp_path / "calls.pid").read_text()), signal.SIGKILL)
    assert probe.complete(text)
    found = probe.parse(text, (GPU, GPU_STATE, MEMORY))
    assert found[GPU].error == "nvidia-smi gave no answer within 1 s"
    assert found[GPU_STATE].watts is None
    assert found[MEMORY].total > 0
    assert len((tmp_path / "calls").read_text().splitlines()) == 1  # once in a probe


def test_an_older_driver_is_asked_by_the_older_name(tmp_path: Path) -> None:
    found = probe.parse(read(tmp_path, ANSWERS), (GPU, GPU_STATE))
    assert found[GPU].names == ("NVIDIA GB10",)
    assert [(each.pid, each.name) for each in found[GPU].processes] == [(4877, "python3")]
    assert (found[GPU_STATE].watts, found[GPU_STATE].reasons) == (31.2, 0)
    assert [(each.pid, each.uid) for each in found[GPU_STATE].owners] == [(1, 0)]


@pytest.mark.parametrize("smi", ["echo 'No devices were found'; exit 6", "exec /no/such/program"])
def test_what_it_says_instead(tmp_path: Path, smi: str) -> None:
    found = probe.parse(read(tmp_path, smi), (GPU, GPU_STATE))
    assert found[GPU].names == ()
    assert "no" in found[GPU].error.lower()
    assert found[GPU_STATE].sm_mhz is None
