"""The program under test as a user runs it, on the rack's hosts: `spark-cluster … --json`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from spark_cluster.lab.topology import DEVICES, ETHERNET
from tests.lab.faults.hosts import ADDRESSES, LINKS, NAMES, Rack

PROGRAM = str(Path(sys.executable).with_name("spark-cluster"))
RECIPE = "qwen3-vl-235b"

#: A command of these takes seconds; whoever is not back by then hangs.
LIMIT = 240.0

Event = dict[str, Any]

#: The product's recipe; there is no RDMA here, so its tokens travel by TCP and the verdict says so.
_RECIPE = f"""\
extends: {RECIPE}
name: {RECIPE}
title: of the fault suite
requires: {{memory_gib: 0.4, disk_gib: 0.01}}
env: {{NCCL_NET: {{value: null, why: there is no RDMA on a host of namespaces}}}}
"""


@dataclass(frozen=True)
class Moment:
    """A boundary of the journal: the `nth` event of a kind, of a step or of a guard's state."""

    kind: str
    name: str = ""
    nth: int = 1

    def __str__(self) -> str:
        return "-".join([self.kind.replace("_", "-"), *([self.name] if self.name else []),
                         *([str(self.nth)] if self.nth > 1 else [])])  # fmt: skip

    def is_like(self, event: Event) -> bool:
        return event["kind"] == self.kind and self.name in (
            "",
            event.get("step"),
            event.get("state"),
        )


@dataclass
class Told:
    """What a run printed. `code` is its exit code, negative if a signal ended it."""

    arguments: tuple[str, ...]
    events: list[Event] = field(default_factory=list)
    code: int = 0
    err: str = ""

    @property
    def verb(self) -> str:
        return self.arguments[0]

    @property
    def run(self) -> str:
        return str(next((e["run"] for e in self.events if e["kind"] == "run_started"), ""))

    @property
    def results(self) -> list[Event]:
        return [event for event in self.events if event["kind"] == "step_finished"]

    def statuses(self, step: str = "") -> set[str]:
        return {str(e["status"]) for e in self.results if step in ("", e["step"])}

    @property
    def codes(self) -> set[str]:
        """Of the diagnoses in its errors."""
        errors = [event.get("error") or {} for event in self.events]
        return {str(error["code"]) for error in errors if error.get("code")}

    @property
    def end(self) -> str:
        """In a word, for the table."""
        if self.code < 0:
            return "killed"
        words = {0: "done", 1: "failed", 2: "usage", 3: "unknown", 4: "not verified", 5: "locked"}
        return words.get(self.code, f"exit {self.code}")

    def __str__(self) -> str:
        lines = [" ".join(self.arguments) + f": {self.end}"]
        lines += [
            f"  {e['kind']} {e.get('host') or ''} {e.get('step') or e.get('state') or ''} "
            f"{e.get('status') or ''} {(e.get('error') or {}).get('message', '')}"
            for e in self.events
            if e["kind"] not in ("progress", "step_started")
        ]
        return "\n".join([*lines, self.err])


class Controller:
    """A machine with the program on it; `home` is its state: inventory, keys, journal."""

    def __init__(self, rack: Rack, home: Path) -> None:
        self.rack, self.home = rack, home
        (home / "recipes").mkdir(parents=True, exist_ok=True)
        key = home / "id_ed25519"
        key.write_bytes((rack.base.keys / "id_ed25519").read_bytes())
        key.chmod(0o600)
        hosts = rack.hosts.values()
        public = {h.name: (rack.base.keys / f"{h.name}.pub").read_text().split() for h in hosts}
        (home / "known_hosts").write_text(
            "".join(f"{h.address} {' '.join(public[h.name][:2])}\n" for h in hosts)
        )
        (home / "ssh_config").write_text("".join(
            f"Host {h.name}\n  HostName {h.address}\n  User spark\n  IdentityFile {key}\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {home}/known_hosts\n" for h in hosts
        ))  # fmt: skip
        (home / "recipes" / f"{RECIPE}.yaml").write_text(_RECIPE)
        (home / "inventory.yaml").write_text(yaml.safe_dump(_inventory(), sort_keys=False))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.rack.network, PROGRAM, *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=self.home,
            env={**os.environ, "XDG_STATE_HOME": str(self.home / "state"),
                 "SPARK_CLUSTER_INVENTORY": str(self.home / "inventory.yaml")},
        )  # fmt: skip

    def run(self, *arguments: str) -> Told:
        return self.until(None, lambda _: None, *arguments)

    def until(
        self,
        moment: Moment | None,
        then: Callable[[subprocess.Popen[str]], object],
        *arguments: str,
    ) -> Told:
        """Run with --json; at `moment` do `then`. What it told until its end."""
        process = self.start(*arguments, "--json")
        told, seen = Told(arguments), 0
        hung = threading.Event()

        def give_up() -> None:
            hung.set()
            process.kill()

        watchdog = threading.Timer(LIMIT, give_up)
        watchdog.start()
        try:
            for event in _events(process):
                told.events.append(event)
                if moment is not None and moment.is_like(event):
                    seen += 1
                    if seen == moment.nth:
                        then(process)
            told.code = process.wait(LIMIT)
            assert process.stderr
            told.err = process.stderr.read()
        finally:
            watchdog.cancel()
            process.kill()
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream:
                    stream.close()
        if hung.is_set():
            raise AssertionError(f"hung: not ended within {LIMIT:.0f} s\n{told}")
        if moment is not None and seen < moment.nth:
            raise AssertionError(f"{moment} never came\n{told}")
        return told

    def bootstrap(self) -> Told:
        return self.run(*BOOTSTRAP)

    def launch(self) -> Told:
        return self.run(*LAUNCH)

    def teardown(self) -> Told:
        return self.run(*TEARDOWN)

    def history(self) -> list[dict[str, Any]]:
        process = self.start("history", "--json", "--limit", "1000")
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return list(json.loads(out)["runs"])


#: The shortest time that the guard may be given.
GUARD_SECONDS = 30
BOOTSTRAP = ("bootstrap", "--set", f"netplan.guard_seconds={GUARD_SECONDS}")
LAUNCH = ("launch", RECIPE, "--anyway")
TEARDOWN = ("teardown",)


def _events(process: subprocess.Popen[str]) -> Iterator[Event]:
    assert process.stdout
    for line in process.stdout:
        event = json.loads(line)
        if "kind" in event:
            yield event


def _inventory() -> dict[str, Any]:
    return {
        "version": 1,
        "ssh": {"config": "ssh_config", "known_hosts": "known_hosts"},
        "hosts": {
            name: {
                "rails": [
                    {"interface": interface, "device": DEVICES[interface], "address": address}
                    for interface, address in ADDRESSES[name].items()
                ],
                "links": [{"interface": ETHERNET, "address": LINKS[name]}],
            }
            for name in NAMES
        },
        "groups": {"pair": list(NAMES)},
        "recipes": {RECIPE: f"recipes/{RECIPE}.yaml"},
    }
