"""`launch --restart-at-boot`: reboots of either host and of both, and each time a token again."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib import request

import pytest

from tests.lab.conftest import Cluster, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.long]

RECIPE = "qwen3-vl-235b"
HEAD, WORKER = PAIR = ("spark-2", "spark-3")
UNIT = "spark-cluster-rank.service"

#: Seconds for a boot, and from there to a token, without KVM.
BOOT, TOKEN = 420, 900

#: A moment from now: the way back of our own command must not hang.
LATER = "sudo systemd-run --quiet --on-active=%d --timer-property=AccuracySec=1s "
REBOOT = LATER % 1 + "systemctl reboot"

#: The power goes.
CUT = LATER + "sh -c 'sync; echo b > /proc/sysrq-trigger'"


def read(cluster: Cluster, node: str, command: str) -> str:
    """Empty while the node does not answer."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return cluster.on(node, command, check=False).strip()
    return ""


def boot_id(cluster: Cluster, node: str) -> str:
    return read(cluster, node, "cat /proc/sys/kernel/random/boot_id")


def epoch(cluster: Cluster, node: str) -> str:
    """In which start of all ranks this one says it is."""
    return read(cluster, node, "cat /run/spark-cluster-rank/state").rpartition(" ")[2]


def rows(cluster: Cluster) -> dict[str, dict[str, Any]]:
    found = json.loads(cluster.run("status", "--json", code=None).stdout)["hosts"]
    return {row["host"]: row for row in found}


def story(cluster: Cluster) -> str:
    """What the supervisors wrote, for whoever reads the failure."""
    return "\n".join(
        f"{node}:\n" + cluster.on(node, "sudo journalctl -t spark-cluster -n 60", check=False)
        for node in PAIR
    )


def chats(said: dict[str, Any]) -> bool:
    """Whether a chat gives a token."""
    body = {
        "model": said["model"],
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 4,
    }
    asked = request.Request(
        f"{said['endpoint']}/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    opener = request.build_opener(request.ProxyHandler({}))
    try:
        with opener.open(asked, timeout=120) as answer:
            return int(json.load(answer)["usage"]["completion_tokens"]) > 0
    except (OSError, ValueError, KeyError):
        return False


@pytest.fixture(scope="module")
def served(cluster: Cluster) -> Iterator[dict[str, Any]]:
    """What the launch said of the server."""
    cluster.run("bootstrap")
    _, last = cluster.events("launch", RECIPE, "--restart-at-boot")
    assert last["data"]["restarts_at_boot"] is True
    yield last["data"]
    cluster.run("teardown", "--force", code=None)


def assert_comes_back(
    cluster: Cluster, served: dict[str, Any], commands: dict[str, str], seconds: int
) -> None:
    """Run each host's command, which reboots it; a token comes back, from new ranks."""
    before = {node: boot_id(cluster, node) for node in commands}
    old = epoch(cluster, HEAD)
    assert old == epoch(cluster, WORKER)
    for node, command in commands.items():
        cluster.on(node, command, check=False)
    for node, boot in before.items():
        wait_for(
            lambda: boot_id(cluster, node) not in ("", boot),  # noqa: B023
            seconds,
            f"{node} boots again",
        )
    try:
        wait_for(
            lambda: epoch(cluster, HEAD) == epoch(cluster, WORKER) not in ("", "-", old),
            TOKEN,
            "both ranks are in a new epoch",
        )
        wait_for(lambda: chats(served), TOKEN, "a chat gives a token")
        wait_for(
            lambda: all(
                (row.get("restarts_at_boot") or {}).get("says") == "runs"
                for name, row in rows(cluster).items()
                if name in PAIR
            ),
            180,
            "the supervisors have nothing to wait for",
        )
    except BaseException:
        print(story(cluster))
        raise
    for node in PAIR:
        (container,) = rows(cluster)[node]["containers"]
        assert container["state"] == "running"
        # What launch makes of the host is made again.
        assert cluster.on(node, "tail -n +2 /proc/swaps") == ""


def test_a_second_launch_changes_nothing(cluster: Cluster, served: dict[str, Any]) -> None:
    events, last = cluster.events("launch", RECIPE, "--restart-at-boot")
    assert last["data"]["already_up"] is True
    assert not [e for e in events if e["kind"] == "step_finished" and e["status"] == "changed"]
    shown = cluster.run("status").stdout
    assert f"restarts at boot: {RECIPE}, rank 0\n" in shown
    assert f"restarts at boot: {RECIPE}, rank 1\n" in shown


def test_the_worker_is_rebooted(cluster: Cluster, served: dict[str, Any]) -> None:
    assert_comes_back(cluster, served, {WORKER: REBOOT}, BOOT)


def test_the_head_is_rebooted(cluster: Cluster, served: dict[str, Any]) -> None:
    assert_comes_back(cluster, served, {HEAD: REBOOT}, BOOT)


@pytest.mark.parametrize(("first", "second"), [(HEAD, WORKER), (WORKER, HEAD)])
def test_both_lose_their_power(
    cluster: Cluster, served: dict[str, Any], first: str, second: str
) -> None:
    """One a while after the other: the first waits at its boot for the second."""
    assert_comes_back(cluster, served, {first: CUT % 1, second: CUT % 30}, 2 * BOOT)


def test_a_rank_that_is_killed(cluster: Cluster, served: dict[str, Any]) -> None:
    """Without any reboot."""
    old = epoch(cluster, HEAD)
    cluster.on(WORKER, "sudo docker kill vllm-worker")
    wait_for(
        lambda: epoch(cluster, HEAD) == epoch(cluster, WORKER) not in ("", "-", old),
        TOKEN,
        "both ranks are in a new epoch",
    )
    wait_for(lambda: chats(served), TOKEN, "a chat gives a token")


def test_its_tokens_still_travel_by_rdma(cluster: Cluster, served: dict[str, Any]) -> None:
    _, last = cluster.events("verify-rdma", "--tokens", "16")
    assert last["data"]["verdict"]["kind"] == "rdma", last


def test_teardown_leaves_nothing(cluster: Cluster, served: dict[str, Any]) -> None:
    done = cluster.run("teardown")
    assert "there, for qwen3-vl-235b -> gone" in done.stdout
    assert "nothing of ours runs on spark-1, spark-2, spark-3" in done.stdout
    for node in PAIR:
        assert cluster.on(node, "sudo docker ps -aq") == ""
        assert cluster.on(node, f"systemctl is-active {UNIT}", check=False).strip() == "inactive"
        left = "ls -d /etc/systemd/system/*rank* /usr/local/lib/spark-cluster /run/*-rank"
        assert cluster.on(node, f"{left} 2>/dev/null", check=False) == ""
        assert "http.server" not in cluster.on(node, "ps -eo args")
        assert rows(cluster)[node]["restarts_at_boot"] is None


def test_nothing_comes_back_after_it(cluster: Cluster) -> None:
    boot = boot_id(cluster, WORKER)
    cluster.on(WORKER, REBOOT)
    wait_for(lambda: boot_id(cluster, WORKER) not in ("", boot), BOOT, f"{WORKER} boots again")
    wait_for(
        lambda: "answers" in read(cluster, WORKER, "sudo docker ps -aq && echo answers"),
        BOOT,
        "docker",
    )
    assert cluster.on(WORKER, "sudo docker ps -aq") == ""
