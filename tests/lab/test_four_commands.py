"""The four commands end to end on three virtual Sparks, in the order in which a user runs them.

The tests of this module build on each other: each leaves the lab as the next one wants it.
"""

from __future__ import annotations

import json
from pathlib import Path
from urllib import request

import pytest
import yaml

from tests.lab.conftest import Cluster, finished, wait_for

pytestmark = pytest.mark.lab

RECIPE = "qwen3-vl-235b"
HOSTS = ("spark-1", "spark-2", "spark-3")
PAIR = ("spark-2", "spark-3")

#: What `plan` must leave alone, as a node sees it. Not the fe80 addresses and operational states:
#: NetworkManager's own tries for DHCP on interfaces without a configuration come and go.
_STATE = """
sudo sh -c 'cat /etc/netplan/*; ls -la --time-style=full-iso /etc/netplan'
ip -4 -o addr show | sed 's/valid_lft.*//'; ip -o link show | cut -d' ' -f2,4,5
cat /proc/swaps /proc/sys/net/ipv6/conf/*/disable_ipv6; ls /dev/infiniband
ls /etc/modules-load.d /etc/security/limits.d; lsmod | cut -d' ' -f1 | sort
sudo docker ps -a --format '{{.ID}} {{.Status}}'; sudo ls /var/lib/spark-cluster 2>&1 || true
"""


def test_plan_changes_nothing(cluster: Cluster) -> None:
    before = {name: cluster.on(name, _STATE) for name in HOSTS}
    events, last = cluster.events("plan", "bootstrap", "--commands")
    changes = [change for row in last["data"]["plan"] for change in row["changes"]]
    assert {"/etc/netplan/40-cx7.yaml", "/etc/netplan/50-10gbe.yaml"} <= {
        c["what"] for c in changes
    }
    assert all(change["commands"] for change in changes)
    assert {name: cluster.on(name, _STATE) for name in HOSTS} == before
    assert not [event for event in events if event["kind"] == "step_started"]


def test_bootstrap_makes_the_hosts_ready(cluster: Cluster) -> None:
    events, last = cluster.events("bootstrap")
    assert last["exit_code"] == 0
    assert {name: e["status"] for name, e in finished(events, "netplan").items()} == dict.fromkeys(
        HOSTS, "changed"
    )
    guard = [event["state"] for event in events if event["kind"] == "guarded"]
    assert guard.count("confirmed") == len(HOSTS)
    assert "reverted" not in guard
    for name, address in (("spark-2", "192.168.100.10"), ("spark-3", "192.168.100.11")):
        shown = cluster.on(name, "ip -o addr show enp1s0f1np1; ip link show enp1s0f1np1")
        assert f"inet {address}/24" in shown
        assert "inet6" not in shown
        assert "mtu 9000" in shown
        assert "192.168.101." in cluster.on(name, "ip -o addr show enP2p1s0f1np1")
        assert cluster.on(name, "tail -n +2 /proc/swaps") == ""
        assert "600" in cluster.on(name, "sudo stat -c %a /etc/netplan/40-cx7.yaml")
        cluster.on(name, "test -e /dev/infiniband/rdma_cm")
        # No guard is left armed.
        assert cluster.on(name, "systemctl list-timers 'spark-cluster*' --no-legend") == ""
    cluster.on("spark-2", "ping -M do -c 1 -W 5 -s 8972 192.168.100.11")
    assert "network guard" in cluster.on("spark-2", "sudo journalctl -t spark-cluster -o cat")


def test_a_second_bootstrap_changes_nothing(cluster: Cluster) -> None:
    events, last = cluster.events("bootstrap")
    assert set(last["counts"]) <= {"ok", "skipped"}
    assert not [event for event in events if event["kind"] == "guarded"]


def test_an_mtu_set_back_by_hand_is_mended(cluster: Cluster) -> None:
    cluster.on("spark-3", "sudo ip link set dev enp1s0f1np1 mtu 1500")
    events, _ = cluster.events("bootstrap")
    assert finished(events, "mtu")["spark-3"]["status"] == "changed"
    assert finished(events, "mtu")["spark-2"]["status"] == "ok"
    assert "mtu 9000" in cluster.on("spark-3", "ip link show enp1s0f1np1")


def test_launch_refuses_with_reasons_and_starts_nothing(cluster: Cluster, tmp_path: Path) -> None:
    recipe = tmp_path / "too-large.yaml"
    recipe.write_text(
        f"name: too-large\ntitle: x\nextends: {RECIPE}\n"
        "image: example.org/vllm:not-here\nrequires: {memory_gib: 100}\n"
    )
    cluster.on("spark-2", "sudo systemd-run --unit=holds-8000 python3 -m http.server 8000")
    wait_for(
        lambda: ":8000" in cluster.on("spark-2", "ss -Hltn"), 60, "something listens on port 8000"
    )
    try:
        events, last = cluster.events("launch", str(recipe), code=4)
    finally:
        cluster.on("spark-2", "sudo systemctl stop holds-8000")
    reasons = {e["error"]["code"] for e in events if e["kind"] == "step_finished"}
    assert {"SERVE001", "SERVE002", "SERVE005"} <= reasons
    assert last["exit_code"] == 4
    assert cluster.on("spark-2", "sudo docker ps -aq") == ""


def test_launch_serves(cluster: Cluster) -> None:
    done = cluster.run("launch", RECIPE)
    assert "extends" in done.stdout
    assert "is ready: http://" in done.stdout
    assert "curl http://" in done.stdout
    assert "next: spark-cluster verify-rdma" in done.stdout


def test_a_second_launch_says_that_it_is_up(cluster: Cluster) -> None:
    started = cluster.on("spark-2", "sudo docker inspect -f '{{.State.StartedAt}}' vllm-head")
    done = cluster.run("launch", RECIPE)
    assert "is already up" in done.stdout
    assert started == cluster.on(
        "spark-2", "sudo docker inspect -f '{{.State.StartedAt}}' vllm-head"
    )


def test_the_printed_endpoint_chats(cluster: Cluster) -> None:
    _, last = cluster.events("launch", RECIPE)
    body = {
        "model": last["data"]["model"],
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 8,
    }
    asked = request.Request(
        f"{last['data']['endpoint']}/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    opener = request.build_opener(request.ProxyHandler({}))
    with opener.open(asked, timeout=120) as answer:
        reply = json.load(answer)
    assert reply["choices"][0]["message"]["content"]
    assert reply["usage"]["completion_tokens"] > 0


def test_verify_rdma_says_rdma(cluster: Cluster) -> None:
    _, last = cluster.events("verify-rdma", "--tokens", "16")
    verdict = last["data"]["verdict"]
    assert verdict["kind"] == "rdma", verdict
    rows = {row["host"]: row for row in verdict["rows"] if row["is_expected"]}
    assert set(rows) == set(PAIR)
    assert all(row["tx"] > 0 and row["rx"] > 0 for row in rows.values())
    shown = cluster.run("verify-rdma").stdout
    assert "verdict: rdma" in shown
    assert "rocep1s0f1" in shown


def test_status_shows_the_ranks(cluster: Cluster) -> None:
    rows = json.loads(cluster.run("status", "--json").stdout)["hosts"]
    ranks = {row["host"]: [c["rank"] for c in row["containers"]] for row in rows}
    assert ranks == {"spark-1": [], "spark-2": ["0"], "spark-3": ["1"]}


def test_teardown_from_another_machine_without_state(cluster: Cluster, tmp_path: Path) -> None:
    done = cluster.run(
        "teardown", "--inventory", str(cluster.inventory), env={"XDG_STATE_HOME": str(tmp_path)}
    )
    assert "nothing of ours runs on spark-1, spark-2, spark-3" in done.stdout
    for name in PAIR:
        assert cluster.on(name, "sudo docker ps -aq") == ""
        assert cluster.on(name, "nvidia-smi --query-compute-apps=pid --format=csv,noheader") == ""
    assert ":8000" not in cluster.on("spark-2", "ss -Hltn")


def test_a_wrong_environment_ends_on_sockets_and_is_found_out(
    cluster: Cluster, tmp_path: Path
) -> None:
    """NCCL falls back silently when NCCL_NET is unset: the job works, the verdict does not.

    The recipe's check would refuse it: --anyway.
    """
    recipe = tmp_path / "wrong.yaml"
    text = (cluster.lab / "recipes" / f"{RECIPE}.yaml").read_text()
    data = yaml.safe_load(text)
    data["env"] = {"NCCL_IB_HCA": "=mlx5_7:1", "NCCL_NET": {"value": None}}
    recipe.write_text(yaml.safe_dump(data))
    assert "RECIPE004" in cluster.run("launch", str(recipe), code=2).stderr
    assert "verdict: socket" in cluster.run("launch", str(recipe), "--anyway", code=4).stdout
    _, last = cluster.events("verify-rdma", "--tokens", "16", code=4)
    assert last["data"]["verdict"]["kind"] == "socket", last
    cluster.run("teardown")


def test_teardown_while_a_launch_hangs(cluster: Cluster, tmp_path: Path) -> None:
    """The launch waits for a model that never loads; teardown takes the lock from it."""
    recipe = tmp_path / "slow.yaml"
    data = yaml.safe_load((cluster.lab / "recipes" / f"{RECIPE}.yaml").read_text())
    data["env"] = {"SPARK_LAB_LOAD_SECONDS": 3600}
    recipe.write_text(yaml.safe_dump(data))
    launching = cluster.start("launch", str(recipe), "--json")
    try:
        wait_for(
            lambda: "vllm serve" in cluster.on("spark-2", "ps -eo args"), 300, "vllm serve runs"
        )
        done = cluster.run("teardown")
        assert "took the lock over from launch by" in done.stdout
        out, _ = launching.communicate(timeout=120)
    finally:
        launching.kill()
    assert launching.returncode not in (0, None)
    assert '"ready"' in out
    assert cluster.on("spark-2", "sudo docker ps -aq") == ""


def test_two_runs_at_once(cluster: Cluster) -> None:
    """The second ends with 5 and names the holder; the first is not disturbed."""
    for name in HOSTS:
        cluster.on(name, "sudo rm -f /etc/security/limits.d/90-spark-cluster.conf")
    holder = (
        "sudo sh -c 'exec 9>>/run/spark-cluster.lock; flock 9; "
        'echo "bootstrap by somebody@elsewhere (pid 7)" > /run/spark-cluster.lock.holder; '
        "exec sleep 300'"
    )
    cluster.on("spark-2", f"sudo systemd-run --unit=holds-lock {holder.removeprefix('sudo ')}")
    wait_for(
        lambda: cluster.on("spark-2", "sudo flock -n /run/spark-cluster.lock true || echo held"),
        60,
        "the lock is held",
    )
    try:
        done = cluster.run("bootstrap", code=5)
    finally:
        cluster.on("spark-2", "sudo systemctl stop holds-lock")
    assert "bootstrap by somebody@elsewhere (pid 7)" in done.stderr
    assert "absent" in cluster.on(
        "spark-1", "test -e /etc/security/limits.d/90-spark-cluster.conf || echo absent"
    )
    cluster.run("bootstrap")


def test_a_host_that_is_down(cluster: Cluster) -> None:
    """Named, nothing changed anywhere; teardown calls it unknown and does the rest."""
    cluster.on("spark-1", "sudo rm -f /etc/security/limits.d/90-spark-cluster.conf")
    cluster.run("lab", "fault", "node-dead", "spark-3")
    done = cluster.run("bootstrap", code=3)
    assert "spark-3" in done.stderr
    assert "absent" in cluster.on(
        "spark-1", "test -e /etc/security/limits.d/90-spark-cluster.conf || echo absent"
    )
    done = cluster.run("teardown", code=3)
    assert "unknown: spark-3 was not reached" in done.stdout
    rows = json.loads(cluster.run("status", "--json", code=3).stdout)["hosts"]
    assert {row["host"]: row["state"] for row in rows} == {
        "spark-1": "up",
        "spark-2": "up",
        "spark-3": "unknown",
    }
    cluster.run("lab", "fault", "node-dead", "spark-3", "--undo")
