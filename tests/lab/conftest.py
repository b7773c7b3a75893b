"""The lab for the tests: up once for the whole run, in a state folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from spark_cluster.lab import requirements

PROGRAM = str(Path(sys.executable).with_name("spark-cluster"))


@dataclass
class Cluster:
    """The program, as a user runs it, on the lab's inventory. `home` is the controller's state."""

    home: Path
    lab: Path
    log: list[str] = field(default_factory=list)

    @property
    def inventory(self) -> Path:
        return self.lab / "inventory.yaml"

    def environment(self, more: dict[str, str] | None = None) -> dict[str, str]:
        return {
            **os.environ,
            "XDG_STATE_HOME": str(self.home),
            "SPARK_CLUSTER_LAB": str(self.lab),
            "COLUMNS": "120",
            **(more or {}),
        }

    def start(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(env),
            cwd=self.home,
        )

    def run(
        self,
        *arguments: str,
        code: int | None = 0,
        seconds: float = 600,
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run; fail the test with the whole output if the exit code is another than `code`."""
        process = self.start(*arguments, env=env)
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            pytest.fail(f"{arguments} did not end within {seconds} s\n{out}\n{err}")
        done = subprocess.CompletedProcess(arguments, process.returncode, out, err)
        if code is not None and done.returncode != code:
            pytest.fail(f"{arguments}: exit code {done.returncode}, not {code}\n{out}\n{err}")
        return done

    def events(
        self,
        *arguments: str,
        code: int | None = 0,
        seconds: float = 600,
        env: dict[str, str] | None = None,
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Run with --json: all events, and the last one."""
        done = self.run(*arguments, "--json", code=code, seconds=seconds, env=env)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        return events, events[-1]

    def on(self, node: str, command: str, *, check: bool = True) -> str:
        """Run a command on a node by the lab's own way in, not by the program under test."""
        done = subprocess.run(
            ["ssh", "-F", str(self.lab / "ssh_config"), "-o", "BatchMode=yes", node, command],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        if check and done.returncode:
            pytest.fail(f"{node}: {command}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The lab's machines last: while they run they take the CPU of all others. Of theirs the four
    commands first: they begin with nodes on which nothing was ever done."""

    def order(item: pytest.Item) -> int:
        if item.get_closest_marker("lab") is None:
            return 1 if item.get_closest_marker("faults") else 0
        return 2 if item.path.stem == "test_four_commands" else 3

    items.sort(key=order)


def finished(events: list[dict[str, Any]], step: str) -> dict[str, dict[str, Any]]:
    """The outcomes of a step by host."""
    return {
        event["host"]: event
        for event in events
        if event["kind"] == "step_finished" and event["step"] == step
    }


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.5)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    missing = requirements.missing()
    if missing:
        pytest.skip(f"the lab needs {', '.join(package.name for package in missing)}")
    home = tmp_path_factory.mktemp("controller")
    running = os.environ.get("SPARK_CLUSTER_TEST_LAB")
    if running:
        # A lab that is up already, for whoever works on one test; it is left up.
        cluster = Cluster(home, Path(running))
        (home / "spark-cluster").mkdir()
        (home / "spark-cluster/current-inventory").write_text(f"{cluster.inventory}\n")
        yield cluster
        return
    cluster = Cluster(home, home / "lab")
    cluster.run("lab", "up", seconds=1800)
    try:
        yield cluster
    finally:
        cluster.run("lab", "down", seconds=180)
