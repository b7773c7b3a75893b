"""The night shift on a ring of three: see it, keep what explains it, bring it back, without a host.

The tests build on each other: a model is launched on spark-1 and spark-2, watched, wounded, brought
back, and moved to the two hosts that are left when one loses its power.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib import request

import pytest
import yaml

from spark_cluster.lab import requirements
from tests.lab.conftest import PROGRAM, Cluster, wait_for
from tests.monitor_files import PANELS

pytestmark = [pytest.mark.lab, pytest.mark.long]

RECIPE = "qwen3-vl-235b"
FIRST, SECOND, THIRD = "spark-1", "spark-2", "spark-3"
SECRET, TOKEN = "LANGFUSE_SECRET_KEY", "sk-lf-PlantedSecretThatMustNotLeave0123"


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Bootstrapped, with a group of the first two hosts."""
    missing = requirements.missing()
    if missing:
        pytest.skip(f"the lab needs {', '.join(package.name for package in missing)}")
    home = tmp_path_factory.mktemp("oncall")
    cluster = Cluster(home, home / "lab")
    try:
        cluster.run("lab", "up", "--topology", "ring", seconds=1800)
        data = yaml.safe_load(cluster.inventory.read_text())
        data["groups"] = {"first": [FIRST, SECOND]}
        cluster.inventory.write_text(yaml.safe_dump(data, sort_keys=False))
        recipe = cluster.lab / "recipes" / f"{RECIPE}.yaml"
        changes = {"secrets": [SECRET]}
        recipe.write_text(yaml.safe_dump({**yaml.safe_load(recipe.read_text()), **changes}))
        cluster.run("bootstrap", seconds=1800)
        yield cluster
    finally:
        cluster.run("lab", "down", seconds=180)


def status(cluster: Cluster) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cluster.run("status", "--json", code=None).stdout)
    return found


def host(cluster: Cluster, name: str) -> dict[str, Any]:
    return next(row for row in status(cluster)["hosts"] if row["host"] == name)


def ask(endpoint: str, model: str) -> int:
    """Tokens of a short answer."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8}
    asked = request.Request(
        f"{endpoint}/chat/completions", json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )  # fmt: skip
    opener = request.build_opener(request.ProxyHandler({}))
    with opener.open(asked, timeout=120) as answer:
        return int(json.load(answer)["usage"]["completion_tokens"])


def get(cluster: Cluster, node: str, url: str) -> str:
    return cluster.on(node, f"curl -sS --max-time 20 -G {url}")


@pytest.fixture(scope="module")
def served(ring: Cluster) -> dict[str, Any]:
    """What the launch said of the server."""
    _, last = ring.events("launch", RECIPE, env={SECRET: TOKEN})
    data: dict[str, Any] = last["data"]
    assert data["verdict"]["kind"] == "rdma", data
    assert data["served"]["hosts"] == [FIRST, SECOND]
    return data


def test_status_is_one_screen(ring: Cluster, served: dict[str, Any]) -> None:
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                ask(served["endpoint"], served["model"])

    thread = threading.Thread(target=load)
    thread.start()
    try:
        wait_for(
            lambda: (host(ring, FIRST).get("endpoint") or {}).get("tokens_per_second"),
            120, "status sees tokens per second",
        )  # fmt: skip
        rows = {row["host"]: row for row in status(ring)["hosts"]}
    finally:
        stop.set()
        thread.join(timeout=120)
    for name in (FIRST, SECOND):
        assert rows[name]["containers"][0]["state"] == "running"
        busy = [rail for rail in rows[name]["rails"] if rail["tx_per_second"]]
        assert busy, rows[name]["rails"]
        assert {rail["state"] for rail in rows[name]["rails"]} == {"ACTIVE"}
    assert rows[THIRD]["containers"] == []
    shown = ring.run("status").stdout
    assert "RDMA verdict: rdma" in shown
    assert "tok/s" in shown or "tokens" in shown


def test_logs_of_both_ranks_by_time(ring: Cluster, served: dict[str, Any]) -> None:
    lines = [json.loads(x) for x in ring.run("logs", "--json").stdout.splitlines()]
    assert {line["rank"] for line in lines} == {0, 1}
    times = [line["time"] for line in lines if line["time"]]
    assert times == sorted(times)
    follower = ring.start("logs", "-f")
    assert follower.stdout is not None
    assert follower.stdout.readline()
    follower.send_signal(signal.SIGINT)
    follower.communicate(timeout=60)
    assert host(ring, FIRST)["containers"][0]["state"] == "running"


def unpacked(path: str) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {
            member.name: body.read()
            for member in tar.getmembers()
            if (body := tar.extractfile(member)) is not None
        }


def test_evidence_without_the_secret_and_without_the_host_that_hangs(
    ring: Cluster, served: dict[str, Any], tmp_path: Path
) -> None:
    inside = ring.on(FIRST, f"sudo docker exec vllm-head printenv {SECRET}", check=False)
    assert inside.strip() == TOKEN
    ring.run("lab", "fault", "sshd-hang", THIRD)
    try:
        done = ring.run("evidence", "-o", str(tmp_path / "all.tar.gz"), "--json", code=3)
    finally:
        ring.run("lab", "fault", "sshd-hang", THIRD, "--undo")
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["incomplete"] == [THIRD]
    files = unpacked(told["path"])
    assert not [name for name, body in files.items() if TOKEN.encode() in body]
    index = files["all/index.md"].decode()
    assert THIRD in index
    for node, container in ((FIRST, "vllm-head"), (SECOND, "vllm-worker")):
        mine = {name: body for name, body in files.items() if name.startswith(f"all/{node}/")}
        assert [name for name in mine if container in name], sorted(mine)
        assert [name for name in mine if "dmesg" in name or "journal" in name]


def test_metrics_and_every_panel_of_the_dashboard(
    ring: Cluster, served: dict[str, Any], tmp_path: Path
) -> None:
    """Debian's programs on the nodes: there are no images here."""
    watcher = ring.start("watch", "--interval", "10", "--listen", "127.0.0.1:9470", "--json")
    # The nodes cannot reach this machine: the server finds the watcher on its own loopback.
    forward = subprocess.Popen(
        ["ssh", "-F", str(ring.lab / "ssh_config"), "-o", "ExitOnForwardFailure=yes", "-N",
         "-R", "127.0.0.1:9470:127.0.0.1:9470", THIRD],
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        seen = json.loads((watcher.stdout or pytest.fail("no output")).readline())
        assert seen
        _, last = ring.events("monitor", "up", "--host", THIRD, "--packages")
        jobs = {target["job"] for target in last["data"]["targets"] if target["health"] == "up"}
        assert {"vllm", "node", "watcher"} <= jobs, last["data"]["targets"]
        for _ in range(3):
            assert ask(served["endpoint"], served["model"]) > 0
        empty = {panel.title for panel in PANELS}

        def filled() -> bool:
            for panel in [panel for panel in PANELS if panel.title in empty]:
                for query in panel.queries:
                    expr = query.replace("$__rate_interval", "4m").replace("$model", ".*")
                    quoted = expr.replace("'", "'\\''")
                    answer = json.loads(get(
                        ring, THIRD,
                        f"--data-urlencode 'query={quoted}' http://127.0.0.1:9090/api/v1/query",
                    ))  # fmt: skip
                    assert answer["status"] == "success", (panel.title, answer)
                    if answer["data"]["result"]:
                        empty.discard(panel.title)
            return not empty

        wait_for(filled, 300, f"every panel has data; empty: {empty}")
        assert "prometheus" in ring.run("monitor", "status").stdout
        ring.run("monitor", "down")
        assert ":9090" not in ring.on(THIRD, "ss -Hltn")
    finally:
        forward.terminate()
        forward.wait(timeout=60)
        watcher.send_signal(signal.SIGINT)
        watcher.communicate(timeout=60)


def test_a_sweep_with_its_hosts_beside(
    ring: Cluster, served: dict[str, Any], tmp_path: Path
) -> None:
    results = tmp_path / "benchmark_results"
    ring.run(
        "bench", "sweep", RECIPE, "--levels", "1,2", "--requests", "2", "--input-tokens", "16",
        "--output-tokens", "8", "--warm-up", "1", "--output", str(results),
    )  # fmt: skip
    (found,) = results.rglob("*.json")
    levels = json.loads(found.read_text())["levels"]
    assert len(levels) == 2
    for level in levels:
        ranks = {(each["host"], each["rank"]) for each in level["hosts"]}
        assert ranks == {(FIRST, 0), (SECOND, 1)}
        assert [rail for rail in level["hosts"][0]["rails"] if rail["tx"]]


class Watching:
    """A watcher beside the test; `lines` is what it has said."""

    def __init__(
        self, cluster: Cluster, port: int, *options: str, env: dict[str, str] | None = None
    ) -> None:
        words = ("watch", "--interval", "15", "--listen", f"127.0.0.1:{port}", "--json")
        self.process = cluster.start(*words, *options, env=env)
        self.lines: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.append(json.loads(line))

    def until(self, text: str, seconds: float) -> dict[str, Any]:
        """The first line that holds the text."""
        wait_for(lambda: self.find(text), seconds, f"the watcher says {text!r}; {self.lines}")
        return self.find(text)[0]

    def find(self, text: str) -> list[dict[str, Any]]:
        return [line for line in list(self.lines) if text in json.dumps(line)]

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=120)


@contextlib.contextmanager
def watching(
    cluster: Cluster, port: int, *options: str, env: dict[str, str] | None = None
) -> Iterator[Watching]:
    watcher = Watching(cluster, port, *options, env=env)
    try:
        wait_for(lambda: watcher.lines, 120, "the watcher looks")
        yield watcher
    finally:
        if watcher.process.poll() is None:
            watcher.end()


def test_the_watcher_sees_a_wedge_by_both_ranks(ring: Cluster, served: dict[str, Any]) -> None:
    """So long without a token. A young engine may be compiling: a warning, and no restart."""
    with watching(ring, 9471, "--restart", "--wedge-after", "60s") as watcher:
        ring.run("lab", "fault", "wedge", FIRST)
        asked = threading.Thread(target=lambda: _ask_in_vain(served), daemon=True)
        asked.start()
        try:
            said = watcher.until('"condition": "wedge"', 600)
            assert (said["phase"], said["severity"], said["code"]) == (
                "began", "warning", "RDMA015",
            )  # fmt: skip
            assert "requests run and no token comes; rank 0: RDMA still" in said["what"]
            assert "rank 1: RDMA still" in said["what"]
        finally:
            ring.run("lab", "fault", "wedge", FIRST, "--undo")
        watcher.until('"phase": "ended", "condition": "wedge"', 180)
        assert not watcher.find("restarting")
    asked.join(timeout=120)


def _ask_in_vain(served: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        ask(served["endpoint"], served["model"])


def test_the_watcher_finds_a_dead_rank_and_keeps_the_evidence(
    ring: Cluster, served: dict[str, Any], tmp_path: Path
) -> None:
    """Unasked it restarts nothing."""
    heard = tmp_path / "heard"
    hook = f'echo "$SPARK_CLUSTER_CONDITION $SPARK_CLUSTER_EVIDENCE" >>{heard}'
    before = host(ring, FIRST)["containers"][0]["run"]
    with watching(ring, 9471, "--on-wedge", hook) as watcher:
        ring.run("lab", "fault", "kill-rank", SECOND)
        watcher.until("dead-rank", 300)
        watcher.until(".tar.gz", 300)
        wait_for(heard.exists, 60, "the user's command ran")
        wait_for(lambda: watcher.find("--on-wedge"), 60, "and the watcher says how it ended")
        assert watcher.end() == 4
    condition, path = heard.read_text().split()
    assert condition == "dead-rank"
    assert tarfile.is_tarfile(path)
    assert not watcher.find("restarting")
    assert host(ring, FIRST)["containers"][0]["run"] == before


def test_told_to_the_watcher_restarts(ring: Cluster, served: dict[str, Any]) -> None:
    """The rank is still dead from the test before."""
    before = host(ring, FIRST)["containers"][0]["run"]
    with watching(ring, 9471, "--restart", env={SECRET: TOKEN}) as watcher:
        watcher.until(f"restarting {RECIPE} because of dead-rank", 600)
        watcher.until(f"restarted {RECIPE}", 900)
        watcher.until('"phase": "ended", "condition": "dead-rank"', 180)
    assert host(ring, FIRST)["containers"][0]["run"] != before
    assert ask(served["endpoint"], served["model"]) > 0


def test_relaunch_with_evidence(ring: Cluster, served: dict[str, Any]) -> None:
    before = host(ring, FIRST)["containers"][0]["run"]
    _, last = ring.events("relaunch", "--evidence", seconds=1200, env={SECRET: TOKEN})
    assert last["data"]["verdict"]["kind"] == "rdma"
    assert host(ring, FIRST)["containers"][0]["run"] != before
    assert ask(last["data"]["endpoint"], last["data"]["model"]) > 0


@contextlib.contextmanager
def full_screen(cluster: Cluster) -> Iterator[Callable[[], str]]:
    """`status --watch` on a terminal until Ctrl-C; gives what was drawn since the last call."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, "status", "--watch"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=cluster.environment({"TERM": "xterm-256color", "LINES": "50"}),
        cwd=cluster.home,
    )
    os.close(theirs)
    drawn: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):
            while piece := os.read(ours, 65536):
                drawn.append(piece)

    def since() -> str:
        pieces, drawn[:] = drawn[:], []
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", b"".join(pieces).decode(errors="replace"))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield since
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=120)
        os.close(ours)
    assert code == 3


def test_one_of_the_pair_loses_power_and_two_others_serve(
    ring: Cluster, served: dict[str, Any]
) -> None:
    with full_screen(ring) as since:
        wait_for(lambda: "vllm-worker" in since(), 180, "the screen shows the ranks")
        ring.run("lab", "fault", "node-dead", SECOND)
        wait_for(lambda: re.search(rf"{SECOND} +unknown", since()), 180, "and the dead host")
        wait_for(lambda: re.search(rf"{FIRST} +up", since()), 60, "and goes on with the others")
    ring.run("status", code=3)
    asked = ("failover", RECIPE, "--without", SECOND)
    shown = ring.run(*asked, "--dry-run", env={SECRET: TOKEN}).stdout
    assert f"serves on {FIRST}, {THIRD}" in shown
    events, last = ring.events(*asked, code=None, seconds=1200, env={SECRET: TOKEN})
    assert last["exit_code"] == 0, [x for x in events if x.get("error")]
    assert last["data"]["served"]["hosts"] == [FIRST, THIRD]
    assert last["data"]["verdict"]["kind"] == "rdma"
    assert ask(last["data"]["endpoint"], last["data"]["model"]) > 0


def test_the_dead_host_is_finished_when_it_is_back(ring: Cluster) -> None:
    ring.run("lab", "fault", "node-dead", SECOND, "--undo")
    shown = ring.run("teardown", "--resume", "--wait", "5").stdout
    assert SECOND in shown
    assert host(ring, FIRST)["containers"][0]["state"] == "running"


def test_docker_hangs_on_one_host(ring: Cluster, tmp_path: Path) -> None:
    """Its daemon is stopped: nothing answers. The evidence has what the ranks said and where they
    stand, and a teardown by force still ends all of it."""
    stop = "sudo kill -STOP $(systemctl show -p MainPID --value docker)"
    ring.on(THIRD, stop)
    try:
        ring.run("evidence", "-o", str(tmp_path / "hung.tar.gz"))
        files = unpacked(str(tmp_path / "hung.tar.gz"))
        assert b'"log":' in files[f"hung/{THIRD}/docker/logs-vllm-worker.txt"]
        assert b"== vllm-worker, process" in files[f"hung/{THIRD}/engine/stacks.txt"]
        assert b"VLLM::Worker" in files[f"hung/{THIRD}/engine/stacks.txt"]
        done = ring.run("teardown", "--force", code=4, seconds=420)
        assert "DOCKER001" in done.stdout
        assert "nothing of ours runs on" not in done.stdout
        assert ring.on(THIRD, "pgrep -f '[V]LLM::Worker' || echo none").strip() == "none"
        assert ring.on(FIRST, "sudo docker ps -aq") == ""
    finally:
        ring.on(THIRD, stop.replace("-STOP", "-CONT"))
    ring.run("teardown")
    left = subprocess.run(
        ["ssh", "-F", str(ring.lab / "ssh_config"), THIRD, "sudo docker ps -aq"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert left.stdout == ""
