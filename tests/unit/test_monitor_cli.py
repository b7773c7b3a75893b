"""`monitor` and `services` over fake hosts: what is told, exit codes, --json, dry runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spark_cluster.actions.monitor import started
from spark_cluster.cli.views import monitor as view
from spark_cluster.inventory import loader as inventories
from spark_cluster.monitoring import config
from spark_cluster.services.table import SERVICES
from tests.command_line import Cli

from . import world
from .stacks import NO_DOCKER, SERVER, STOPPED, bare_hosts, scraped, serving, up_hosts
from .world import INVENTORY, Spark, down

UP = ("monitor", "up", "--host", SERVER, "-i", INVENTORY)


# monitor


def test_up_says_where_it_is_and_what_does_not_answer(cli: Cli) -> None:
    hosts = bare_hosts()
    said = cli(*UP, hosts=hosts)
    assert said.code == 0, said.out + said.err
    assert "http://spark-2:3000/d/vllm-spark" in said.out
    assert "http://spark-2:9090" in said.out
    assert f"sudo cat {config.PASSWORD}" in said.out
    assert "7 of 8 answer" in said.out
    assert "engine" not in said.out.partition("Targets")[2]
    assert "down: node spark-3 192.168.100.11:9100: no route to host" in said.out
    commands = "".join(host.changes[-1] for host in hosts)
    assert commands.count("docker run --detach --name spark-cluster-prometheus ") == 1
    assert commands.count("docker run --detach --name spark-cluster-node-exporter ") == 3
    for host in hosts:
        assert not [script for script in host.changes if "spark-cluster.recipe" in script]


def test_a_second_up_changes_nothing_with_one_exec_a_host(cli: Cli) -> None:
    hosts = up_hosts()
    said = cli(*UP, "--json", hosts=hosts)
    assert said.code == 0
    last = said.lines[-1]
    assert last["counts"].get("changed", 0) == 0
    assert last["data"]["grafana"] == "http://spark-2:3000/d/vllm-spark"
    assert {t["health"] for t in last["data"]["targets"]} == {"up", "down", "absent"}
    assert [host.execs for host in hosts] == [1, 1, 1]


def test_a_dry_run_shows_and_does_nothing(cli: Cli) -> None:
    hosts = bare_hosts()
    said = cli(*UP, "--dry-run", "--json", hosts=hosts)
    assert said.code == 0
    text = json.dumps(said.lines[-1]["data"]["plan"])
    assert "spark-cluster-grafana" in text
    assert all(not host.changes for host in hosts)


@pytest.mark.parametrize(
    ("arguments", "says", "next_"),
    [
        (("--without", "grafan"), "--without grafan", "Known programs: prometheus, grafana"),
        (("--watcher", "nine"), "--watcher nine", "192.168.102.10:9470"),
        (("--watcher", "10.0.0.1:99999"), "--watcher 10.0.0.1:99999", "192.168.102.10:9470"),
        (("--watcher", "10.0.0.1:0"), "--watcher 10.0.0.1:0", "192.168.102.10:9470"),
        (("--watcher", "10.0.0.1:٩٤٧٠"), "--watcher 10.0.0.1:٩٤٧٠", "192.168.102.10:9470"),
        (("--host", "spark-9"), "spark-9", "spark-1"),
        (("--engine-port", "0"), "--engine-port", ""),
    ],
)
def test_a_wrong_option_says_what_would_be_right(
    cli: Cli,
    arguments: tuple[str, ...],
    says: str,
    next_: str,
) -> None:
    said = cli("monitor", "up", "-i", INVENTORY, *arguments)
    assert said.code == 2
    assert says in said.err
    assert next_ in said.err


def test_a_port_in_use_is_a_reason_not_to_begin(cli: Cli) -> None:
    hosts = bare_hosts()
    hosts[1].texts["ports"] += 'LISTEN 0 4096 *:3000 *:* users:(("open-webui",pid=7,fd=3))\n'
    said = cli(*UP, hosts=hosts)
    assert said.code == 4
    assert "grafana needs port 3000" in said.out
    assert "MON002" in said.out
    assert "Nothing was changed" in said.out
    assert all(not host.changes for host in hosts)


def test_a_host_that_is_away_is_a_reason_not_to_begin(cli: Cli) -> None:
    said = cli(*UP, hosts=[*bare_hosts()[:2], down("spark-3")])
    assert said.code == 3
    bare = bare_hosts("spark-1", "spark-2")
    there = cli(*UP, "--hosts", "spark-1,spark-2", hosts=[*bare, down("spark-3")])
    assert there.code == 0, there.out + there.err


def test_down_takes_ours_and_names_the_host_it_did_not_reach(cli: Cli) -> None:
    hosts = up_hosts()
    for host in hosts:
        host.texts["containers"] = world.running(host.name) if host.name in world.PAIR else ""
        host.effect("docker rm --force spark-cluster-node-exporter", monitor="data\n")
    said = cli("monitor", "down", "-i", INVENTORY, hosts=[*hosts[:2], down("spark-3")])
    assert said.code == 3
    assert "unknown: spark-3 was not reached" in said.out
    assert "monitor down --hosts spark-3" in said.out
    commands = "".join(hosts[1].changes)
    assert "docker stop -t 30 spark-cluster-grafana" in commands
    name = world.deployment().container("spark-2").name
    assert name not in commands


def test_down_is_no_success_while_docker_does_not_answer(cli: Cli) -> None:
    hosts = up_hosts()
    there = hosts[1].texts["monitor"].splitlines(keepends=True)
    kept = [line for line in there if not line.startswith(("container", "image"))]
    hosts[1].texts["monitor"] = NO_DOCKER + "".join(kept)
    for host in hosts:
        host.effect("docker rm --force spark-cluster-node-exporter", monitor="data\n")
    said = cli("monitor", "down", "--purge", "-i", INVENTORY, hosts=hosts)
    assert said.code != 0
    assert "DOCKER001" in said.out
    assert "whether our containers run is unknown (prometheus answers on port 9090" in said.out
    assert "monitor down --hosts spark-2 --purge" in said.out
    assert not hosts[1].changes
    commands = "".join(hosts[0].changes)
    assert commands.index("docker rm --force") < commands.index(f"rm -f {config.FOLDER}")


def test_status_without_docker_is_unknown(cli: Cli) -> None:
    hosts = up_hosts()
    hosts[0].texts["monitor"] = NO_DOCKER + "ready node-exporter 200\n"
    said = cli("monitor", "status", "-i", INVENTORY, hosts=hosts)
    assert said.code == 3
    assert "unknown    spark-1: docker says: Cannot connect" in said.out
    assert "spark-1: no monitoring runs" not in said.out
    assert "spark-1: node-exporter answers, whose it is, docker would tell" in said.out
    assert "spark-2: prometheus (container) running" in said.out
    rows = cli("monitor", "status", "--json", "-i", INVENTORY, hosts=hosts).lines[0]["hosts"]
    assert [row["state"] for row in rows] == ["unknown", "up", "up"]
    bare = [Spark("spark-1", {"monitor": "docker-error there is no docker on this host\n"})]
    said = cli("monitor", "status", "--hosts", "spark-1", "-i", INVENTORY, hosts=bare)
    assert said.code == 0
    assert "spark-1: no monitoring runs" in said.out


@pytest.mark.parametrize(
    ("monitor", "says"),
    [
        ("container prometheus 0 running\n", "on spark-2, where they are"),
        (NO_DOCKER + f"file 00  {config.PROMETHEUS}\n", "on spark-2, where they are"),
        ("data\n", "on spark-2, where what was collected is"),
        ("", "on spark-1, the first of the inventory; --host for another"),
    ],
)
def test_without_host_prometheus_stays_where_it_is(cli: Cli, monitor: str, says: str) -> None:
    hosts = bare_hosts()
    hosts[1].texts["monitor"] = monitor
    said = cli("monitor", "up", "--dry-run", "--hosts", "spark-1", "-i", INVENTORY, hosts=hosts)
    assert f"Prometheus and Grafana: {says}" in said.out


def test_without_host_prometheus_may_be_on_a_host_that_is_away(cli: Cli) -> None:
    up = ("monitor", "up", "--dry-run", "--hosts", "spark-1,spark-2", "-i", INVENTORY)
    said = cli(*up, hosts=[*bare_hosts()[:2], down("spark-3")])
    assert said.code == 3
    assert "whether Prometheus is on spark-3 is unknown: spark-3: no route to host" in said.err
    assert "--host" in said.err
    known = cli(*up, hosts=[*up_hosts()[:2], down("spark-3")])
    assert known.code == 0, known.err


def test_the_password_command_runs_as_typed(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text(
        "ssh: {config: own config}\n"
        "hosts:\n"
        "  spark-1: {address: 10.0.0.1, user: nvidia, port: 2201, identity: key}\n"
        "  spark-2: {}\n"
        "  here: {address: local}\n"
    )
    inventory = inventories.load(path)
    facts = world.facts("spark-2", {"monitor": "ready grafana 200\n"})
    said = {
        name: "\n".join(view.started(started(inventory, name, facts))) for name in inventory.hosts
    }
    read = f"sudo cat {config.PASSWORD}"
    own = f"ssh -t -F '{tmp_path}/own config'"
    assert f"password: {own} -p 2201 -i {tmp_path}/key nvidia@10.0.0.1 {read}" in said["spark-1"]
    assert f"password: {own} spark-2 {read}" in said["spark-2"]
    assert f"password: {read}" in said["here"]


def test_status_tells_programs_targets_and_alerts(cli: Cli) -> None:
    said = cli("monitor", "status", "-i", INVENTORY, hosts=up_hosts())
    assert said.code == 0
    assert "spark-2: prometheus (container) running, answers" in said.out
    assert "7 of 8 targets answer" in said.out
    assert "down: node spark-3" in said.out
    assert "vllm" not in said.out.replace("vllm-spark", "")
    assert "firing HostAway: spark-3: node_exporter does not answer" in said.out
    assert "http://spark-2:3000/d/vllm-spark" in said.out


def test_monitoring_without_any_engine_says_so(cli: Cli) -> None:
    hosts = up_hosts()
    hosts[1].texts["scraped"] = scraped(engines=())
    said = cli("monitor", "status", "-i", INVENTORY, hosts=hosts)
    assert "7 of 7 targets answer" in said.out
    assert "no engine was found on any host" in said.out
    assert "no engine was found on any host" in cli(*UP, hosts=hosts).out


def test_status_of_hosts_without_it_and_away(cli: Cli) -> None:
    own = Spark("spark-2", {"monitor": "ready node-exporter 200\n"})
    hosts = [Spark("spark-1", {"monitor": "data\n"}), own, down("spark-3")]
    said = cli("monitor", "status", "-i", INVENTORY, "--json", hosts=hosts)
    assert said.code == 3
    rows: list[dict[str, Any]] = said.lines[0]["hosts"]
    assert [row["state"] for row in rows] == ["up", "up", "unknown"]
    assert rows[1]["others"] == ["node-exporter"]
    said = cli("monitor", "status", "-i", INVENTORY, hosts=hosts)
    assert "spark-1: no monitoring runs; what was collected is kept" in said.out
    assert "spark-2: node-exporter answers, not started by us" in said.out
    assert "unknown" in said.out


# services


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_that_runs_is_left_as_it_is(cli: Cli, name: str) -> None:
    host = Spark("spark-1", {"services": serving(name)})
    said = cli("services", name, "up", "--host", "spark-1", "-i", INVENTORY, hosts=[host])
    assert said.code == 0, said.out + said.err
    assert host.execs == 1
    where = "localhost" if SERVICES[name].local else "spark-1"
    assert f"{name} answers: http://{where}:{SERVICES[name].port}" in said.out
    for line in SERVICES[name].limits:
        assert f"note: {line[:40]}" in said.out


def test_a_service_is_started(cli: Cli) -> None:
    name = "helicone"
    there = serving(name).splitlines()
    written = "\n".join(li for li in there if " part " not in li and " answer " not in li)
    host = Spark("spark-1", {"services": "compose 2.40.3\nvenv yes\n"})
    host.effect("docker-compose.yml.spark-cluster.new", services=written)
    host.effect("docker compose", services=serving(name))
    said = cli("services", name, "up", "-i", INVENTORY, "--json", hosts=[host])
    assert said.code == 0, said.out + said.err
    assert said.lines[-1]["counts"]["changed"] == 2
    assert said.lines[-1]["data"]["url"] == "http://localhost:3001"
    assert any("ARM64" in line for line in said.lines[-1]["data"]["limits"])


def test_somebody_elses_service_is_left_alone(cli: Cli) -> None:
    host = Spark("spark-1", {"services": "compose 2.40.3\nlangfuse file 00\n"})
    for action in ("up", "down"):
        said = cli("services", "langfuse", action, "--host", "spark-1", "-i", INVENTORY,
                   hosts=[host])  # fmt: skip
        assert said.code == 4
        assert "SVC001" in said.out
    assert not host.changes


def test_down_keeps_the_data_and_purge_does_not(cli: Cli) -> None:
    host = Spark("spark-1", {"services": serving("phoenix")})
    kept = (
        serving("phoenix")
        .replace("unit active", "unit inactive")
        .replace("answer 200", "answer 000")
    )
    host.effect("disable --quiet --now phoenix", services=kept)
    words = ("services", "phoenix", "down", "--host", "spark-1", "-i", INVENTORY)
    said = cli(*words, hosts=[host])
    assert said.code == 0, said.out + said.err
    assert not [text for text in host.changes if "rm -rf" in text]
    host.effect("rm -rf", services="venv yes\n")
    said = cli(*words, "--purge", hosts=[host])
    assert said.code == 0, said.out + said.err
    assert [text for text in host.changes if "rm -rf" in text]


def test_the_state_of_a_service(cli: Cli) -> None:
    hosts = [
        Spark("spark-1", {"services": serving("langfuse")}),
        Spark("spark-2", {"services": "langfuse file 00\n"}),
        down("spark-3"),
    ]
    said = cli("services", "langfuse", "status", "-i", INVENTORY, hosts=hosts)
    assert said.code == 3
    assert "spark-1: langfuse-web running" in said.out
    assert "HTTP 200 on port 3100" in said.out
    assert "spark-2: there is one that spark-cluster did not make" in said.out
    one = cli("services", "langfuse", "status", "--host", "spark-1", "--json", "-i", INVENTORY,
              hosts=hosts)  # fmt: skip
    assert one.code == 0
    assert one.lines[0]["hosts"][0]["state"] == "up"


def test_down_takes_it_down_where_it_is(cli: Cli) -> None:
    foreign = "compose 2.40.3\nlangfuse part langfuse-web running\n"
    first, second, third = Spark("spark-1", {"services": foreign}), Spark(SERVER), down("spark-3")
    second.texts["services"] = serving("langfuse")
    second.effect("docker compose --project-name langfuse down", services=STOPPED)
    words = ("services", "langfuse", "down", "-i", INVENTORY)
    said = cli(*words, hosts=[first, second, third])
    assert said.code == 3
    assert "spark-1: langfuse: there is one that spark-cluster did not make, left alone" in said.out
    assert "spark-3 was not reached; langfuse may still run there" in said.out
    assert second.changes
    assert not first.changes
    third.down, third.texts["services"] = None, NO_DOCKER
    said = cli(*words, hosts=[Spark("spark-1"), second, third])
    assert said.code == 4
    assert "docker says: Cannot connect to the Docker daemon" in said.out


def test_up_goes_where_it_is(cli: Cli) -> None:
    kept, runs, nothing = Spark("spark-1"), Spark(SERVER), Spark("spark-3")
    kept.texts["services"] = STOPPED
    runs.texts["services"] = serving("langfuse").replace("spark-1", SERVER)
    up = ("services", "langfuse", "up", "--json", "--dry-run", "-i", INVENTORY)

    def started(*hosts: Spark) -> tuple[list[str], str]:
        said = cli(*up, hosts=hosts)
        return said.lines[0]["hosts"], said.out

    assert started(kept, runs, nothing)[0] == [SERVER]
    assert started(kept, Spark(SERVER), nothing)[0] == ["spark-1"]
    nothing.texts["services"] = NO_DOCKER
    where, told = started(Spark("spark-1"), down(SERVER), nothing)
    assert where == ["spark-1"]
    assert "spark-2, spark-3 could not be asked: langfuse may be there already" in told


def test_without_docker_the_state_is_unknown(cli: Cli) -> None:
    host = Spark("spark-1", {"services": f"{NO_DOCKER}langfuse ours\nlangfuse answer 200\n"})
    for name, code in (("langfuse", 3), ("phoenix", 0)):
        said = cli("services", name, "status", "--host", "spark-1", "-i", INVENTORY, hosts=[host])
        assert (said.code, "unknown" in said.out) == (code, code == 3)
    said = cli("services", "langfuse", "down", "--host", "spark-1", "-i", INVENTORY, hosts=[host])
    assert said.code == 4
    assert "DOCKER001" in said.out


@pytest.mark.parametrize("name", SERVICES)
def test_a_local_service_is_told_and_configured_with_one_address(cli: Cli, name: str) -> None:
    host = Spark("spark-1", {"services": "compose 2.40.3\nvenv yes\n"})
    said = cli("services", name, "up", "--listen", "local", "--host", "spark-1", "--dry-run",
               "--json", "-v", "-i", INVENTORY, hosts=[host])  # fmt: skip
    assert said.code == 0, said.out + said.err
    assert f"http://spark-1:{SERVICES[name].port}" not in said.out


def test_the_help_of_host_says_what_each_does_without_it(cli: Cli) -> None:
    helped = {
        action: " ".join(cli("services", "langfuse", action, "--help").out.split())
        for action in ("up", "down", "status")
    }
    assert "default: the current one, else the first" in helped["up"]
    for action in ("down", "status"):
        assert "Limit to this host" in helped[action]
        assert "first" not in helped[action]
