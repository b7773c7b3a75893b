"""The program under test as a user calls it, and what it said."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.lab.faults.spaces import ALIVE

from . import settings

CONTROLLER = Path(__file__).with_name("controller")

Event = dict[str, Any]


@dataclass
class Said:
    """What a command printed, its exit code, and how long it took in seconds."""

    words: tuple[str, ...]
    text: str
    code: int
    seconds: float
    events: list[Event] = field(default_factory=list)

    @property
    def data(self) -> dict[str, Any]:
        """--json: what the run ended with."""
        found: dict[str, Any] = (self.events[-1].get("data") or {}) if self.events else {}
        return found

    @property
    def results(self) -> dict[tuple[str, str], Event]:
        """--json: each step's last result by step and host."""
        ends = [event for event in self.events if event.get("kind") == "step_finished"]
        return {(str(event["step"]), str(event["host"])): event for event in ends}

    def result(self, step: str, host: str) -> Event:
        found = self.results.get((step, host))
        assert found is not None, f"no result of {step} on {host}:\n{self}"
        return found

    @property
    def problems(self) -> list[str]:
        """--json: of all hosts, each as code and sentence."""
        found = []
        for event in self.events:
            error = event.get("error")
            if error and (text := f"{error.get('code') or ''} {error['message']}") not in found:
                found.append(text)
        return found

    def find(self, pattern: str) -> str:
        """What the text has of a pattern; fails if it has nothing."""
        found = re.search(pattern, self.text)
        assert found, f"{pattern!r} is not in:\n{self}"
        return found[0]

    def __str__(self) -> str:
        return f"$ spark-cluster {' '.join(self.words)}\n{self.text}\nexit code {self.code}"


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Of the program, with the connections of `folder`'s hosts and a state of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    before = [str(CONTROLLER), str(settings.REPOSITORY), os.environ.get("PYTHONPATH", "")]
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(filter(None, before)),
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": "200",
        "XDG_STATE_HOME": str(folder / "state"),
        "SPARK_CLUSTER_GPU_HOSTS": str(folder / "pair" / "hosts.json"),
        **more,
    }


def run(folder: Path, *words: str, seconds: float = 300) -> Said:
    """Run to its end; the test is skipped if the time for all of them is over before."""
    left = settings.until() - time.time()
    process = subprocess.Popen(
        [sys.executable, "-m", "spark_cluster", *words],
        cwd=folder / "place", env=environment(folder), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        start_new_session=True,
    )  # fmt: skip
    begun = time.monotonic()
    try:
        text, _ = process.communicate(timeout=max(1.0, min(seconds, left)))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        text, _ = process.communicate()
        if left < seconds:
            pytest.skip(f"the time was over during {' '.join(words)}:\n{text[-2000:]}")
        raise AssertionError(f"no end within {seconds:.0f} s: {' '.join(words)}\n{text}") from None
    took = time.monotonic() - begun
    return Said(words, text, process.returncode, took, _events(text) if "--json" in words else [])


def _events(text: str) -> list[Event]:
    found = []
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            found.append(event)
    return found


class Watching:
    """`spark-cluster watch` in the background; `text` is what it has said so far."""

    def __init__(self, folder: Path, log: Path, *words: str, patience: str) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [*ALIVE, sys.executable, "-m", "spark_cluster", "watch", *words],
                cwd=folder / "place", stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                env=environment(folder, SPARK_CLUSTER_GPU_PATIENCE=patience),
                start_new_session=True,
            )  # fmt: skip

    @property
    def text(self) -> str:
        return self._log.read_text(errors="replace")

    def until(self, pattern: str, seconds: float) -> str:
        """The first line with a pattern, as soon as it is there."""
        deadline = min(time.time() + seconds, settings.until())
        while True:
            for line in self.text.splitlines():
                if re.search(pattern, line):
                    return line
            if time.time() > settings.until():
                pytest.skip(f"the time was over before watch said {pattern!r}:\n{self.text}")
            assert time.time() < deadline, f"not within {seconds:.0f} s: {pattern!r}\n{self.text}"
            assert self._process.poll() is None, f"watch has ended:\n{self.text}"
            time.sleep(0.3)

    def end(self) -> int:
        """As by Ctrl-C; its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            raise
