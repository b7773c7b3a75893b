"""The RDMA verdict on real traffic, each case with a real fault.

Each launch takes a minute or two, so that the tests are grouped by launch and build on each other.

Not made here, because two soft-RoCE hosts cannot be brought to it: one rank only (the others of a
collective always take part). `partial-one-rank.json` among the unit tests' verdict cases has it.
mlx5's own counters are in tests/unit/test_rdma_mlx5_tree.py, on trees of the documented layout.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib import request

import pytest
import yaml

from tests.lab.conftest import Cluster, finished, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.long]

RECIPE = "qwen3-vl-235b"
HEAD, WORKER = "spark-2", "spark-3"
RAIL, HALF = "rocep1s0f1", "roceP2p1s0f1"
MANAGEMENT = "enP7s7"


@pytest.fixture(scope="module", autouse=True)
def ready_hosts(cluster: Cluster) -> Iterator[None]:
    cluster.run("bootstrap")
    yield
    cluster.run("teardown", "--force", code=None)


def launch(
    cluster: Cluster, tmp_path: Path, *, code: int = 0, base: str = RECIPE, **fields: Any
) -> dict[str, Any]:
    """Launch a variant of the lab's recipe `base`; the data of the run's end.

    The recipe check refuses some of them, which is another test's subject: --anyway.
    """
    cluster.run("teardown", "--force")
    data = yaml.safe_load((cluster.lab / "recipes" / f"{base}.yaml").read_text())
    recipe = tmp_path / "variant.yaml"
    recipe.write_text(yaml.safe_dump({**data, **fields}))
    _, last = cluster.events("launch", str(recipe), "--anyway", code=code)
    found: dict[str, Any] = last["data"]
    return found


def verify(cluster: Cluster, *options: str, code: int | None = 4) -> dict[str, Any]:
    """The verdict of `verify-rdma`."""
    _, last = cluster.events("verify-rdma", *options, code=code)
    found: dict[str, Any] = last["data"]["verdict"]
    return found


def told(verdict: dict[str, Any]) -> str:
    return "\n".join(verdict["reasons"])


def rails(verdict: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["host"], row["rail"]): row for row in verdict["rows"]}


@contextlib.contextmanager
def load(cluster: Cluster, pause: float = 0.0) -> Iterator[None]:
    """Requests of a user, one after the other, until the end; `pause` seconds between two leave
    an emulated head the time to answer others."""
    status = json.loads(cluster.run("status", "--json", code=None).stdout)
    heads = [c for row in status["hosts"] for c in row.get("containers", ()) if c["rank"] == "0"]
    address = yaml.safe_load(cluster.inventory.read_text())["hosts"][HEAD]["api"]
    model = cluster.on(
        HEAD,
        "sudo docker inspect -f '{{index .Config.Labels \"spark-cluster.model\"}}' "
        + heads[0]["name"],
    ).strip()
    body = {"model": model, "prompt": "Count", "max_tokens": 8, "min_tokens": 8, "ignore_eos": True}
    opener = request.build_opener(request.ProxyHandler({}))
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(pause):
            asked = request.Request(
                f"http://{address}/v1/completions",
                json.dumps(body).encode(),
                {"Content-Type": "application/json"},
            )
            with contextlib.suppress(OSError), opener.open(asked, timeout=60) as answer:
                answer.read()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=90)


@contextlib.contextmanager
def fault(cluster: Cluster, name: str, node: str, *more: str) -> Iterator[None]:
    cluster.run("lab", "fault", name, node, *more)
    try:
        yield
    finally:
        cluster.run("lab", "fault", name, node, *more, "--undo")


class Watching:
    """`verify-rdma --watch --json` in the background; its lines as they come."""

    def __init__(self, cluster: Cluster, *options: str) -> None:
        self.process = cluster.start("verify-rdma", "--watch", "--json", *options)
        self.lines: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    @property
    def intervals(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["kind"] == "watched"]

    def until(self, verdict: str, seconds: float = 120) -> dict[str, Any]:
        """Wait for an interval, from now on, with this verdict."""
        seen = len(self.intervals)

        def told() -> bool:
            assert self.process.poll() is None, (self.lines[-1:], self.process.communicate()[1])
            return verdict in [line["verdict"] for line in self.intervals[seen:]]

        wait_for(told, seconds, f"an interval says {verdict}")
        return next(line for line in self.intervals[seen:] if line["verdict"] == verdict)

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(timeout=60)
        self._reader.join(timeout=10)
        return code

    def __enter__(self) -> Watching:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


# One launch as it should be


PATIENCE = {"NCCL_IB_TIMEOUT": 16}
"""NCCL waits 0.27 s for a lost packet instead of 4: it costs little time below."""


def health(cluster: Cluster) -> str:
    ask = "curl -s -o /dev/null -w '%{http_code}' 127.0.0.1:8000/health"
    return cluster.on(HEAD, ask, check=False)


def test_a_launch_ends_with_the_verdict(cluster: Cluster, tmp_path: Path) -> None:
    data = launch(cluster, tmp_path, env=PATIENCE)
    assert data["verdict"]["kind"] == "rdma", data
    assert data["served"]["hosts"] == [HEAD, WORKER]


def counted_in(cluster: Cluster) -> str:
    """rxe counts packets; a newer kernel's also the port's bytes."""
    file = f"/sys/class/infiniband/{RAIL}/ports/1/counters/port_xmit_data"
    return "B" if cluster.on(HEAD, f"ls {file}", check=False) else "packets"


def test_right(cluster: Cluster) -> None:
    """On the best counters that the nodes' kernel has, which it says."""
    found = verify(cluster, "--tokens", "16", code=0)
    assert found["kind"] == "rdma", found
    unit = counted_in(cluster)
    source = {
        "packets": "Counted in packets by the RDMA driver (sent_pkts, rcvd_pkts)",
        "B": "Counted in bytes by the RDMA port (port_xmit_data, port_rcv_data; steps of 4)",
    }
    assert source[unit] in found["source"]
    carried = {place: row["tx"] for place, row in rails(found).items() if row["is_expected"]}
    assert set(carried) == {(HEAD, RAIL), (WORKER, RAIL)}
    size = 1 if unit == "B" else 4096
    assert all(count > 16 * 94 * 2 * 4096 * 2 / size for count in carried.values())


def test_status_shows_the_verdict_with_its_age(cluster: Cluster) -> None:
    found = json.loads(cluster.run("status", "--json").stdout)["verdict"]
    assert (found["kind"], found["current"], found["by"]) == ("rdma", True, "verify-rdma")
    assert 0 <= found["age_seconds"] < 300
    assert re.search(r"RDMA verdict: rdma, \d+ \w+ ago, on", cluster.run("status").stdout)


def test_idle(cluster: Cluster) -> None:
    found = verify(cluster, "--live", "--interval", "3")
    assert (found["kind"], found["code"], found["tokens"]) == ("idle", "RDMA013", 0)
    assert all(row["tx"] == 0 for row in found["rows"] if row["tx"] is not None)


def test_live_takes_the_traffic_that_is_there(cluster: Cluster) -> None:
    with load(cluster):
        found = verify(cluster, "--live", "--interval", "10", code=0)
    assert found["kind"] == "rdma", found
    assert found["tokens"] > 0


def test_watch_is_a_line_an_interval(cluster: Cluster) -> None:
    with Watching(cluster, "--interval", "8") as watching, load(cluster):
        line = watching.until("rdma")
        code = watching.interrupt()
    assert line["tokens_per_second"] > 0
    rates = {(r["host"], r["rail"]): r for r in line["rails"] if r["is_expected"]}
    assert set(rates) == {(HEAD, RAIL), (WORKER, RAIL)}
    unit = counted_in(cluster)
    assert all(r["unit"] == unit and r["tx_per_second"] > 0 for r in rates.values())
    last = watching.intervals[-1]["verdict"]
    assert code == (0 if last == "rdma" else 4)
    assert watching.lines[-1]["exit_code"] == code


def test_error_counters_that_grow_during_the_run(cluster: Cluster) -> None:
    """One frame in eight of the head's is lost."""
    with fault(cluster, "loss", HEAD):
        found = verify(cluster, "--tokens", "2")
    assert (found["kind"], found["code"]) == ("degraded", "RDMA012"), found
    errors = {name for row in found["rows"] for name in row["errors"]}
    assert errors & {"completer_retry_err", "out_of_seq_request", "rcvd_seq_err"}
    assert re.search(r"spark-\d \(rank \d\), rocep1s0f1: \w+ grew by \d+", told(found))


def test_the_gid_moves_under_the_job(cluster: Cluster) -> None:
    """IPv6 addresses come to the head's rail: its IPv4 address gets another GID index."""
    with Watching(cluster, "--interval", "4") as watching, load(cluster, pause=3.0):
        watching.until("rdma", 300)
        seen = len(watching.intervals)
        with fault(cluster, "ipv6", HEAD):
            wait_for(
                lambda: "had index" in str([x["reasons"] for x in watching.intervals[seen:]]),
                240,
                "an interval tells of the GID",
            )
        watching.interrupt()
    reasons = " ".join(r for line in watching.intervals[seen:] for r in line["reasons"])
    assert re.search(
        rf"spark-2 \(rank 0\), {RAIL}: the GID of 192\.168\.100\.10 had index \d at the first "
        r"reading and has \d now",
        reasons,
    )


def test_generation_wedged(cluster: Cluster, tmp_path: Path) -> None:
    """The API answers, a request runs, no token comes."""
    # Anew: a newer rxe ends what was connected by a GID that moved, now or at a later packet.
    launch(cluster, tmp_path, env=PATIENCE)
    with load(cluster):
        with fault(cluster, "wedge", HEAD):
            # The step that was under way ends first.
            found = verify(cluster, "--live", "--interval", "4")
            if found["tokens"]:
                found = verify(cluster, "--live", "--interval", "4")
        assert (found["kind"], found["code"]) == ("idle", "RDMA015"), found
        assert "generation is stuck" in told(found)
        assert health(cluster) == "200"


def test_a_dead_worker_behind_a_healthy_server(cluster: Cluster) -> None:
    wait_for(
        lambda: verify(cluster, "--live", "--interval", "2", code=None)["code"] == "RDMA013",
        120,
        "the requests of before are through",
    )
    cluster.run("lab", "fault", "kill-rank", WORKER)
    for way in (["--live", "--interval", "2"], []):
        found = verify(cluster, *way)
        assert found["code"] == "RDMA016", found
        assert found["reasons"][0].startswith(
            f"{WORKER} (rank 1) is dead, while /health answers 200"
        )
    # It was not asked for a token, which would have ended it.
    assert health(cluster) == "200"


def test_watch_goes_on_when_a_host_dies(cluster: Cluster) -> None:
    with Watching(cluster, "--interval", "2") as watching:
        watching.until("idle")
        with fault(cluster, "node-freeze", WORKER):
            line = watching.until("unknown", 180)
            assert f"{WORKER} (rank 1) could not be read." in line["reasons"]
            wait_for(lambda: "host_lost" in [x["kind"] for x in watching.lines], 60, "told")
        watching.until("idle", 240)
        assert watching.interrupt() == 4
    notes = [line for line in watching.lines if line["kind"] == "note"]
    assert (WORKER, "answers again") in [(line["host"], line["message"]) for line in notes]


# One launch with a wrong NCCL_IB_HCA and the management NIC for sockets


def test_wrong_nccl_ib_hca_and_traffic_on_the_management_nic(
    cluster: Cluster, tmp_path: Path
) -> None:
    """NCCL falls back silently when NCCL_NET is unset: the job works, launch says what is wrong."""
    env = {
        "NCCL_IB_HCA": "=mlx5_7:1",
        "NCCL_NET": {"value": None},
        "NCCL_SOCKET_IFNAME": MANAGEMENT,
    }
    found = launch(cluster, tmp_path, code=4, env=env)["verdict"]
    assert (found["kind"], found["code"]) == ("socket", "RDMA018"), found
    for rank, host in enumerate((HEAD, WORKER)):
        assert f"{host} (rank {rank}): NCCL_IB_HCA is =mlx5_7:1, which selects none" in told(found)
        assert (
            f"{host} (rank {rank}): {MANAGEMENT}, which is no rail of the recipe, carried"
            in told(found)
        )
    assert all(row["tx"] == 0 for row in found["rows"] if row["tx"] is not None)


def gid_index(cluster: Cluster, node: str) -> int:
    """Where the rail's IPv4 address stands: after addresses came and went it may be anywhere."""
    found = cluster.on(node, f"grep -l :ffff:c0a8:64 /sys/class/infiniband/{RAIL}/ports/1/gids/*")
    return int(found.split()[0].rpartition("/")[2])


def test_one_direction_only(cluster: Cluster) -> None:
    """Somebody else's RDMA goes one way over the rail while the job uses sockets: no proof."""
    # Few and small writes in flight: a queue longer than the timer brings errors of its own.
    wait = "timeout 120 ib_write_bw -d {} -x {} -D 60 -p 18515 -s 4096 -t 8"
    server = subprocess.Popen(
        [
            "ssh", "-F", str(cluster.lab / "ssh_config"), "-o", "BatchMode=yes", WORKER,
            wait.format(RAIL, gid_index(cluster, WORKER)),
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(lambda: ":18515" in cluster.on(WORKER, "ss -Hltn"), 60, "ib_write_bw listens")
    client = subprocess.Popen(
        [
            "ssh", "-F", str(cluster.lab / "ssh_config"), "-o", "BatchMode=yes", HEAD,
            f"{wait.format(RAIL, gid_index(cluster, HEAD))} 192.168.100.11",
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    counter = f"/sys/class/infiniband/{RAIL}/ports/1/hw_counters/sent_pkts"
    first = int(cluster.on(HEAD, f"cat {counter}"))
    try:
        wait_for(
            lambda: int(cluster.on(HEAD, f"cat {counter}")) > first + 1000, 60, "packets are sent"
        )
        found = verify(cluster, "--tokens", "8")
    finally:
        for process in (client, server):
            process.terminate()
            process.wait(timeout=60)
    assert (found["kind"], found["code"]) == ("partial", "RDMA018"), found
    assert f"{HEAD} (rank 0), {RAIL}: one direction only: sent, not received." in found["reasons"]
    assert f"{WORKER} (rank 1), {RAIL}: one direction only: received, not sent." in told(found)


# One launch whose containers lack something, each something else

_FORGETFUL = """\
#!/bin/sh
# A launcher that forgets a flag: what `docker run` gets is not what was asked for.
if [ "$1" = run ]; then
  for word do
    shift
    case $word in
      {forgotten}) ;;
      memlock=-1) set -- "$@" {memlock} ;;
      *) set -- "$@" "$word" ;;
    esac
  done
fi
exec /usr/bin/docker "$@"
"""


@contextlib.contextmanager
def forgetful(cluster: Cluster, node: str, forgotten: str, memlock: str) -> Iterator[None]:
    text = _FORGETFUL.format(forgotten=forgotten, memlock=memlock)
    shim = "/usr/local/bin/docker"
    cluster.on(node, f"sudo sh -c 'cat >{shim} && chmod 755 {shim}' <<'END'\n{text}END")
    try:
        yield
    finally:
        cluster.on(node, f"sudo rm -f {shim}")


def test_containers_without_dev_infiniband_and_without_memlock(
    cluster: Cluster, tmp_path: Path
) -> None:
    with (
        forgetful(cluster, HEAD, "--device=/dev/infiniband", "memlock=-1"),
        forgetful(cluster, WORKER, "--cap-add=IPC_LOCK", "memlock=8388608:8388608"),
    ):
        found = launch(cluster, tmp_path, code=4, env={"NCCL_NET": {"value": None}})["verdict"]
    assert (found["kind"], found["code"]) == ("socket", "RDMA017"), found
    assert f"vllm-head on {HEAD} (rank 0) has no /dev/infiniband" in told(found)
    assert f"vllm-worker on {WORKER} (rank 1) may lock 8 MiB of memory and lacks" in told(found)


# The other rails


def test_the_wrong_rail(cluster: Cluster, tmp_path: Path) -> None:
    """The recipe means the first half of the port; its environment names the second."""
    env = {"NCCL_IB_HCA": f"={HALF}:1", "NCCL_IB_ADDR_RANGE": "192.168.101.0/24"}
    found = launch(cluster, tmp_path, code=4, env=env)["verdict"]
    assert (found["kind"], found["code"]) == ("partial", "RDMA018"), found
    for rank, host in enumerate((HEAD, WORKER)):
        assert f"{host} (rank {rank}), {RAIL}: carried no tokens." in told(found)
        assert f"{host} (rank {rank}), {HALF}: wrong rail" in told(found)
        assert f"selects {HALF}; the recipe names {RAIL}" in told(found)


def test_dual_rail(cluster: Cluster, tmp_path: Path) -> None:
    """Both halves carry, also after the GID of one has moved: nothing of ours pins an index."""
    with fault(cluster, "ipv6", HEAD):
        found = launch(cluster, tmp_path, rails="dual")["verdict"]
    assert found["kind"] == "rdma", found
    carried = {place for place, row in rails(found).items() if row["is_expected"] and row["tx"]}
    assert carried == {(host, rail) for host in (HEAD, WORKER) for rail in (RAIL, HALF)}


def test_forced_ib_without_a_device_fails_and_says_why(cluster: Cluster, tmp_path: Path) -> None:
    cluster.run("teardown", "--force")
    recipe = tmp_path / "fails.yaml"
    data = yaml.safe_load((cluster.lab / "recipes" / f"{RECIPE}.yaml").read_text())
    data["env"] = {"NCCL_IB_HCA": "=mlx5_7:1"}
    recipe.write_text(yaml.safe_dump(data))
    events, _ = cluster.events("launch", str(recipe), code=4)
    # Whichever rank said it first; the other is not waited for.
    (failed,) = [each for each in finished(events, "ready").values() if each["status"] == "failed"]
    assert failed["error"]["code"] == "SERVE007"
    # The evidence is left, and a further launch refuses instead of piling up.
    assert "vllm-head" in cluster.on("spark-2", "sudo docker ps -a --format '{{.Names}}'")
    events, _ = cluster.events("launch", RECIPE, code=4)
    assert finished(events, "no-other-run")["spark-2"]["error"]["code"] == "SERVE006"
    cluster.run("teardown", "--force")
