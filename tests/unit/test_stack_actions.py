"""monitor and services as actions: results and events, no output."""

from __future__ import annotations

import pytest

from spark_cluster.actions import monitor, services
from spark_cluster.core.error import InputError, Unreachable
from spark_cluster.core.event import Note, RunFinished, RunStarted
from spark_cluster.core.result import Status
from spark_cluster.facts.monitor import SeenAlert
from spark_cluster.services.table import SERVICES
from tests.operators import Operators
from tests.operators import silent as silent_actions

from . import world
from .stacks import NO_DOCKER, SERVER, STOPPED, bare_hosts, serving, up_hosts
from .world import Spark, down

ALL = list(world.inventory().hosts)


silent = pytest.fixture(autouse=True)(silent_actions)


# monitor


def test_up_ends_with_where_the_monitoring_is(over: Operators) -> None:
    operator, heard = over(bare_hosts())
    outcome = monitor.up(world.inventory(), ALL, operator, host=SERVER)
    assert outcome.exit_code == 0
    assert outcome.data["host"] == SERVER
    assert outcome.data["grafana"] == "http://spark-2:3000/d/vllm-spark"
    assert outcome.data["password_command"].startswith("ssh -t ")
    assert [t.host for t in outcome.data["targets"] if t.health == "down"] == ["spark-3"]
    assert heard.of(RunFinished)[0].data == outcome.data


def test_a_second_up_changes_nothing(over: Operators) -> None:
    hosts = up_hosts()
    operator, heard = over(hosts)
    outcome = monitor.up(world.inventory(), ALL, operator)
    assert {result.status for result in outcome.results} <= {Status.OK, Status.SKIPPED}
    assert [host.changes for host in hosts] == [[], [], []]
    assert heard.of(RunStarted)[0].note == "Prometheus and Grafana: on spark-2, where they are"


def test_up_with_packages_wants_debians_programs(over: Operators) -> None:
    operator, _ = over(bare_hosts())
    outcome = monitor.up(world.inventory(), ALL, operator, host=SERVER, packages=True)
    assert outcome.data == {"begun": False}
    codes = {result.error.code for result in outcome.results if result.error is not None}
    assert (outcome.exit_code, codes) == (4, {"MON001"})


@pytest.mark.parametrize(
    "wrong", [{"without": ["grafan"]}, {"engine_port": 0}, {"watcher": "nine"}], ids=str
)
def test_a_wrong_parameter_reaches_no_host(over: Operators, wrong: dict[str, object]) -> None:
    hosts = bare_hosts()
    operator, heard = over(hosts)
    with pytest.raises(InputError) as refused:
        monitor.up(world.inventory(), ALL, operator, **wrong)  # type: ignore[arg-type]
    assert refused.value.remedy
    assert [host.execs for host in hosts] == [0, 0, 0]
    assert heard == []


def test_a_dry_run_of_up_is_a_plan(over: Operators) -> None:
    hosts = bare_hosts()
    operator, _ = over(hosts)
    outcome = monitor.up(world.inventory(), ALL, operator, host=SERVER, dry_run=True)
    assert outcome.plan is not None
    assert outcome.plan.change_count > 0
    assert [host.changes for host in hosts] == [[], [], []]


def test_the_server_may_be_a_host_that_is_away(over: Operators) -> None:
    operator, heard = over([*bare_hosts("spark-1", "spark-2"), down("spark-3")])
    with pytest.raises(Unreachable) as refused:
        monitor.up(world.inventory(), ["spark-1", "spark-2"], operator)
    assert refused.value.host == "spark-3"
    assert heard == []


def test_down_names_the_host_that_it_did_not_reach(over: Operators) -> None:
    hosts = up_hosts()
    for host in hosts:
        host.effect("docker rm --force spark-cluster-node-exporter", monitor="data\n")
    operator, _ = over([*hosts[:2], down("spark-3")])
    outcome = monitor.down(world.inventory(), ALL, operator)
    assert (outcome.exit_code, outcome.data) == (3, {"unknown": ["spark-3"]})
    last = outcome.results[-1]
    assert (last.host, last.step, last.status) == ("spark-3", "monitor-services", Status.UNKNOWN)


def test_status_is_a_row_a_host(over: Operators) -> None:
    hosts = up_hosts()
    operator, heard = over([*hosts[:2], down("spark-3")])
    report = monitor.status(world.inventory(), ALL, operator)
    first, server, away = report.hosts
    assert report.exit_code == 3
    assert [row["state"] for row in report.hosts] == ["up", "up", "unknown"]
    assert away == {"host": "spark-3", "state": "unknown", "reason": "spark-3: no route to host"}
    assert "prometheus" not in first
    assert {(each.name, each.by, each.ready) for each in server["programs"]} == {
        (name, "container", True)
        for name in ("prometheus", "grafana", "node-exporter", "dcgm-exporter")
    }
    summary = "spark-3: node_exporter does not answer"
    assert server["alerts"] == (SeenAlert("HostAway", "firing", "critical", summary),)
    assert heard == []
    assert [host.execs for host in hosts[:2]] == [1, 1]


def test_status_as_json_has_all_that_prometheus_says_of_an_alert(over: Operators) -> None:
    operator, _ = over(up_hosts())
    rows = monitor.status(world.inventory(), ALL, operator).as_dict()["hosts"]
    (alert,) = rows[1]["alerts"]
    assert set(alert) == {"name", "state", "severity", "summary", "code", "since"}


def test_a_docker_that_does_not_answer_is_a_reason(over: Operators) -> None:
    hosts = up_hosts()
    hosts[0].texts["monitor"] = NO_DOCKER
    operator, _ = over(hosts)
    report = monitor.status(world.inventory(), ALL, operator)
    assert report.hosts[0]["state"] == "unknown"
    assert report.hosts[0]["reason"] == "docker says: Cannot connect to the Docker daemon"
    assert report.exit_code == 3


# services


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_that_runs_stays_where_it_is(over: Operators, name: str) -> None:
    hosts = [Spark(host) for host in ALL]
    hosts[1].texts["services"] = serving(name).replace("spark-1", SERVER)
    operator, _ = over(hosts)
    outcome = services.up(world.inventory(), name, operator)
    assert (outcome.data["service"], outcome.data["host"]) == (name, SERVER)
    assert outcome.data["url"].endswith(f":{SERVICES[name].port}")
    assert outcome.data["local"] == SERVICES[name].local
    assert outcome.data["limits"] == list(SERVICES[name].limits)
    assert all(SERVER in line or "{" not in line for line in outcome.data["login"])
    assert [host.execs for host in (hosts[0], hosts[2])] == [1, 1]


def test_a_host_that_could_not_be_asked_is_told(over: Operators) -> None:
    operator, heard = over([Spark("spark-1"), Spark(SERVER), down("spark-3")])
    outcome = services.up(world.inventory(), "langfuse", operator, dry_run=True)
    assert outcome.plan is not None
    assert heard.of(RunStarted)[0].hosts == ("spark-1",)
    (note,) = heard.of(Note)
    assert note.message == "spark-3 could not be asked: langfuse may be there already"


def test_an_address_to_listen_on_that_there_is_not(over: Operators) -> None:
    operator, heard = over([])
    with pytest.raises(InputError, match="--listen lan"):
        services.up(world.inventory(), "phoenix", operator, listen="lan")
    assert heard == []


def test_down_tells_what_it_left_alone_and_whom_it_did_not_reach(over: Operators) -> None:
    first, second = Spark("spark-1"), Spark(SERVER)
    first.texts["services"] = "compose 2.40.3\nlangfuse part langfuse-web running\n"
    second.texts["services"] = serving("langfuse")
    second.effect("docker compose --project-name langfuse down", services=STOPPED)
    operator, _ = over([first, second, down("spark-3")])
    outcome = services.down(world.inventory(), "langfuse", operator)
    assert outcome.exit_code == 3
    assert outcome.data["unknown"] == ["spark-3"]
    assert {host: len(lines) for host, lines in outcome.data["left_alone"].items()} == {
        "spark-1": 1, SERVER: 0,
    }  # fmt: skip
    assert first.changes == []
    assert second.changes


def test_the_state_of_a_service_on_each_host(over: Operators) -> None:
    hosts = [Spark(name) for name in ALL]
    hosts[0].texts["services"] = serving("langfuse")
    hosts[1].texts["services"] = STOPPED
    hosts[2].texts["services"] = "compose 2.40.3\nlangfuse file 00\n"
    operator, heard = over(hosts)
    report = services.status(world.inventory(), "langfuse", operator)
    assert [row["state"] for row in report.hosts] == ["up", "down", "foreign"]
    assert (report.hosts[0]["answer"], report.hosts[0]["port"]) == (200, 3100)
    assert report.hosts[0]["containers"]["redis"] == "running"
    assert report.hosts[1]["data_kept"]
    assert (report.exit_code, heard) == (0, [])
    hosts[2].texts["services"] = f"{NO_DOCKER}langfuse answer 200\n"
    last = services.status(world.inventory(), "langfuse", operator, host="spark-3")
    (row,) = last.hosts
    assert (row["state"], last.exit_code) == ("unknown", 3)
    assert row["reason"].endswith("HTTP 200 on port 3100")
