"""When the watcher restarts, what it knows of a restart that failed, and how one is run."""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from spark_cluster.actions import restarting
from spark_cluster.cli.views import watch as watch_view
from spark_cluster.core.error import SparkError, StepFailed
from spark_cluster.core.event import HostLost, Note, StepFinished, as_json
from spark_cluster.watch.responder import Remedies
from spark_cluster.watch.restarts import Attempt, Restarts, command
from spark_cluster.workload.launched import Launched
from tests.command_line import Cli
from tests.operators import Heard

from . import world
from .test_status import page
from .watchers import Restarter, Stand, pair
from .world import INVENTORY, Spark

pytestmark = pytest.mark.usefixtures("own_state")


def test_nothing_is_restarted_unasked(warm: Callable[..., Stand]) -> None:
    stand = warm(pair())
    stand.turns(60)
    assert stand.responder.restarts == ()


def test_restarts_have_a_pause_that_grows_and_a_cap(warm: Callable[..., Stand]) -> None:
    restarted: list[tuple[str, float]] = []
    box: list[Stand] = []

    def restart(found: Launched) -> Attempt:
        restarted.append((found.recipe, box[0].at))
        return Attempt("launch of it gave exit code 1")

    remedies = Remedies(lambda: "/e.tar.gz", restart=restart)
    box.append(warm(pair(), remedies, Restarts(cap=3, pause=60.0)))
    box[0].turns(80)
    assert [name for name, _ in restarted] == [world.RECIPE] * 3
    times = [at for _, at in restarted]
    assert [times[1] - times[0], times[2] - times[1]] == [60.0, 120.0]
    notes = box[0].notes()
    assert notes.count("evidence: /e.tar.gz") == 1
    assert notes.count("no more restarts: 3 within 6 h") == 1
    assert notes.index("evidence: /e.tar.gz") < notes.index(
        f"restarting {world.RECIPE} because of wedge"
    )


def test_what_mends_while_evidence_is_collected_is_not_restarted(
    warm: Callable[..., Stand],
) -> None:
    hosts = pair()
    restarted: list[str] = []

    def collect() -> str:
        hosts[0].texts["engine"] = page(5000)  # tokens come again
        return "/e.tar.gz"

    def restart(found: Launched) -> Attempt:
        restarted.append(found.recipe)
        return Attempt()

    stand = warm(hosts, Remedies(collect, restart=restart))
    stand.turns(40)
    assert stand.alarms() == [("began", "wedge", "critical"), ("ended", "wedge", "critical")]
    assert restarted == []
    assert stand.responder.restarts == ()


def test_a_rank_that_the_hosts_start_again_is_left_to_them(warm: Callable[..., Stand]) -> None:
    hosts = pair()
    restarted: list[float] = []
    box: list[Stand] = []

    def restart(_: Launched) -> Attempt:
        restarted.append(box[0].at)
        return Attempt()

    box.append(warm(hosts, Remedies(lambda: "/e.tar.gz", restart=restart), Restarts(cap=1)))
    for host in hosts:
        host.texts["supervisor"] = "RECIPE qwen3-vl-235b\nActiveState=active\n"
    hosts[1].texts["containers"] = world.running("spark-3", state="exited", status=1)
    begun = box[0].at
    box[0].turns(40)
    assert "evidence: /e.tar.gz" in box[0].notes()
    assert restarted == []
    box[0].turns(60)
    assert len(restarted) == 1
    assert restarted[0] - begun > 1200.0


def test_evidence_that_fails_keeps_nobody_from_a_restart(warm: Callable[..., Stand]) -> None:
    restarted: list[str] = []

    def collect() -> str:
        raise StepFailed("the disk is full", remedy="Make room.")

    def restart(found: Launched) -> Attempt:
        restarted.append(found.recipe)
        return Attempt()

    stand = warm(pair(), Remedies(collect, restart=restart), Restarts(cap=1))
    stand.turns(25)
    assert restarted == [world.RECIPE]
    assert "no evidence: the disk is full" in stand.notes()


def torn_down(hosts: list[Spark]) -> Callable[[], None]:
    """What a relaunch leaves whose launch was refused."""

    def clear() -> None:
        for host in hosts:
            host.texts |= {"containers": "", "engine": ""}

    return clear


_FAILED = Attempt("relaunch of it gave exit code 1", process=("here", 71))


def test_what_a_restart_took_down_is_launched_again(warm: Callable[..., Stand]) -> None:
    hosts = pair(supervisor="RECIPE qwen3-vl-235b\n")
    restart = Restarter(_FAILED, then=torn_down(hosts))
    stand = warm(hosts, Remedies(lambda: "/e.tar.gz", restart=restart), Restarts(cap=3))
    stand.turns(60)
    launch = ["launch", world.RECIPE, "--anyway", "--group", "pair", "--restart-at-boot"]
    assert restart.commands() == [["relaunch", world.RECIPE], launch, launch]
    assert ("began", "down", "critical") in stand.alarms()
    assert ("ended", "down", "critical") not in stand.alarms()
    assert stand.notes().count("no more restarts: 3 within 6 h") == 1
    (down,) = [each for each in stand.watcher.conditions if each.kind == "down"]
    assert down.code == "MON006"
    assert down.what.endswith("does not serve: relaunch of it gave exit code 1")


def test_a_launch_that_comes_up_ends_it(warm: Callable[..., Stand]) -> None:
    hosts = pair()
    clear = torn_down(hosts)

    def change() -> None:
        if len(restart.calls) == 1:
            clear()
        else:
            for host in hosts:
                host.texts["containers"] = world.running(host.name)
            hosts[0].texts["engine"] = page(9000)

    restart = Restarter(_FAILED, Attempt(), then=change)
    stand = warm(hosts, Remedies(lambda: "/e.tar.gz", restart=restart), Restarts(cap=3))
    stand.turns(40)
    assert stand.alarms()[-1] == ("ended", "down", "critical")
    assert len(restart.calls) == 2


def test_what_is_left_of_it_is_relaunched(warm: Callable[..., Stand]) -> None:
    hosts = pair()

    def change() -> None:
        hosts[0].texts |= {"containers": "", "engine": ""}

    restart = Restarter(_FAILED, then=change)
    stand = warm(hosts, Remedies(lambda: "/e.tar.gz", restart=restart), Restarts(cap=2))
    stand.turns(40)
    assert restart.commands() == [["relaunch", world.RECIPE]] * 2


def test_what_somebody_else_works_on_is_left_to_them(warm: Callable[..., Stand]) -> None:
    hosts = pair()
    clear = torn_down(hosts)

    def change() -> None:
        clear()
        hosts[1].texts["lock"] = "last launch by me@here (pid 71) since 2999-01-01 00:00:00 UTC\n"

    restart = Restarter(_FAILED, then=change)
    stand = warm(hosts, Remedies(lambda: "/e.tar.gz", restart=restart), Restarts(cap=9, pause=600))
    stand.turns(30)
    assert [each.kind for each in stand.watcher.conditions] == ["down"]
    hosts[1].texts["lock"] = "last teardown by ada@there (pid 9) since 2999-01-01 00:00:01 UTC\n"
    stand.turns(60)
    assert stand.alarms()[-1] == ("ended", "down", "critical")
    assert len(restart.calls) == 1


def test_refused_restarts_do_not_use_up_the_cap(warm: Callable[..., Stand]) -> None:
    times: list[float] = []
    refused = Attempt("relaunch of it gave exit code 3, nothing was changed", changed=False)
    restart = Restarter(*[refused] * 5, Attempt(), then=lambda: times.append(box[0].at))
    box = [warm(pair(), Remedies(lambda: "/e.tar.gz", restart=restart), Restarts(cap=1))]
    box[0].turns(150)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps == [60.0, 120.0, 240.0, 480.0, 900.0]
    assert len(box[0].responder.restarts) == 1


def test_a_head_that_ended_before_the_watcher_came_is_restarted() -> None:
    hosts = pair()
    ended = world.running("spark-2", state="exited", status=137)
    hosts[0].texts |= {"containers": ended, "engine": ""}
    restart = Restarter(Attempt("it failed"))
    stand = Stand(hosts, Remedies(lambda: "/e.tar.gz", restart=restart), Restarts(cap=1))
    stand.turns(8)
    stand.session.close()
    assert restart.commands() == [["relaunch", world.RECIPE]]


def test_a_recipe_that_cannot_be_loaded_is_told_at_first_sight() -> None:
    hosts = pair()
    remedies = Remedies(
        lambda: "/e.tar.gz", restart=Restarter(Attempt()), lacks=lambda name: f"no recipe {name}"
    )
    stand = Stand(hosts, remedies)
    stand.turns(3)
    stand.session.close()
    assert stand.notes() == [f"{world.RECIPE} could not be restarted: no recipe {world.RECIPE}"]


def test_what_a_recipe_lacks() -> None:
    lack = restarting.lacks(world.inventory())
    assert lack(world.RECIPE) == ""
    assert lack("from-a-file").startswith("there is no recipe 'from-a-file'. Name its file under")


@pytest.mark.parametrize(
    ("launch", "words"),
    [
        (Launched("r", ("spark-2", "spark-3"), None, (), {"spark-2": "x"}), "relaunch r"),
        (
            Launched("r", ("spark-2", "spark-3"), "small", ("pp", "debug"), {}, True),
            "launch r --anyway --group pair --profile small --with pp,debug --restart-at-boot",
        ),
        (
            Launched("r", ("spark-1", "spark-3"), None, (), {}),
            "launch r --anyway --group spark-1,spark-3",
        ),
        (Launched("r", ("spark-1",), None, (), {}), "launch r --anyway --group spark-1"),
    ],
)
def test_the_command_of_a_restart(launch: Launched, words: str) -> None:
    assert " ".join(command(launch, world.inventory())) == words


SERVES = '{"kind": "step_finished", "step": "canary", "host": "spark-2", "status": "ok"}'


@pytest.mark.parametrize(
    ("events", "code", "changed"),
    [
        (['{"kind": "step_started", "step": "gone"}', SERVES], 4, True),
        (['{"kind": "error", "error": {"message": "away", "remedy": "wait"}}'], 3, False),
        (['{"kind": "run_started"}', '{"kind": "step_started", "step": "gone"}'], 1, True),
        (['{"kind": "step_started", "step": "gone"}', "[] no event"], 0, True),
    ],
)
def test_a_restart_is_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: list[str], code: int, changed: bool
) -> None:
    program = tmp_path / "python"
    said = "".join(f"echo '{line}'\n" for line in events)
    session = 'cut -d" " -f6 /proc/$$/stat\n'
    program.write_text(f'#!/bin/sh\necho "$*"\n{session}{said}exit {code}\n')
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    heard = Heard()
    launch = Launched(world.RECIPE, world.PAIR, None, (), {"spark-2": "x"})
    attempt = restarting.restarter(world.inventory(), heard.append)(launch)
    lines = [each.message if isinstance(each, Note) else json.dumps(as_json(each))
             for each in heard]  # fmt: skip
    assert lines[0] == f"-m spark_cluster relaunch {world.RECIPE} --inventory {INVENTORY} --json"
    assert lines[2:] == events
    assert attempt.process == (socket.gethostname(), int(lines[1]))  # the leader of its session
    assert attempt.changed is changed
    unchanged = "" if changed else ", nothing was changed"
    failed = code and SERVES not in events  # a verdict of socket is no launch that failed
    expected = f"relaunch of {world.RECIPE} gave exit code {code}{unchanged}" if failed else ""
    assert attempt.problem == expected


def test_what_a_refused_relaunch_says_is_read(cli: Cli) -> None:
    """The sign of an attempt that changed nothing, by the true command."""
    said = cli("relaunch", "-i", INVENTORY, "--json", hosts=[world.serving("spark-2")])
    assert said.code in (3, 4)
    assert [each for each in said.lines if each["kind"] == "step_started"] == []


def test_the_lines_of_a_restart_for_a_person() -> None:
    lines = [
        {"kind": "run_started", "verb": "launch", "hosts": ["spark-2"], "run": "r1"},
        {"kind": "step_finished", "status": "ok", "host": "spark-2"},
        {"kind": "step_finished", "status": "failed", "host": "spark-2", "title": "Ready",
         "details": [], "summary": "no answer"},
        {"kind": "error", "error": {"message": "spark-3 is away", "remedy": "Is it on?"}},
        {"kind": "run_finished", "verb": "launch", "exit_code": 4},
    ]  # fmt: skip
    assert [watch_view.line(restarting.read(json.dumps(line))) for line in lines] == [
        "launch on spark-2, run r1",
        "",
        "spark-2: Ready: failed: no answer",
        "error: spark-3 is away; next: Is it on?",
        "launch ended with exit code 4",
    ]


def test_a_line_of_a_restart_is_the_event_that_it_was() -> None:
    step = StepFinished("spark-2", "ready", "Ready", "failed", "no answer", ("a", "b"), 2.5)
    lost = HostLost("spark-3", SparkError("away", remedy="Is it on?", host="spark-3"))
    told = restarting.read(json.dumps(as_json(step)))
    assert isinstance(told, restarting.RestartTold)
    assert (told.event, as_json(told)) == (step, as_json(step))
    told = restarting.read(json.dumps(as_json(lost)))
    assert isinstance(told, restarting.RestartTold)
    assert isinstance(told.event, HostLost)
    assert (told.event.host, told.event.error.remedy) == ("spark-3", "Is it on?")
    assert as_json(told) == as_json(lost)


@pytest.mark.parametrize(
    "line",
    [
        {"kind": "judged", "verdict": {"kind": "rdma"}},
        {"kind": "error"},
        {"kind": "error", "error": "away"},
        {"kind": "step_finished", "error": {"message": "without a remedy"}},
    ],
)
def test_a_line_that_says_nothing_to_the_watcher_is_passed_on(line: dict[str, object]) -> None:
    told = restarting.read(json.dumps(line))
    assert told == restarting.RestartTold(line, None)
    assert (watch_view.line(told), as_json(told)) == ("", line)


@pytest.mark.parametrize("line", ["Killed", "[]", "{}", '{"kind": 7}', "null"])
def test_a_line_that_is_no_event_is_a_note(line: str) -> None:
    assert restarting.read(line) == Note(line)


@pytest.mark.parametrize(
    ("done", "now", "expected"),
    [
        ((), 0.0, 0.0),
        ((100.0,), 100.0, 60.0),
        ((100.0,), 170.0, 0.0),
        ((100.0, 170.0), 170.0, 120.0),
        ((100.0, 170.0, 300.0), 900.0, None),
        ((100.0, 170.0, 300.0), 100.0 + 6 * 3600.0, 0.0),
    ],
)
def test_restarts_are_capped_and_their_pause_grows(
    done: tuple[float, ...], now: float, expected: float | None
) -> None:
    assert Restarts(cap=3, pause=60.0).wait(done, now) == expected


@pytest.mark.parametrize(
    ("done", "refused", "now", "expected"),
    [
        ((), (0.0,), 0.0, 60.0),
        ((), (0.0, 60.0), 60.0, 120.0),
        ((), tuple(60.0 * n for n in range(20)), 1140.0, 900.0),  # it grows no longer
        ((), (0.0, 60.0, 180.0, 420.0), 1320.0, 0.0),  # and they do not use up the cap
        ((100.0, 170.0), (400.0,), 400.0, 60.0),
        ((100.0, 170.0, 300.0), (), 900.0, None),
    ],
)
def test_refused_restarts_have_a_pause_and_no_cap(
    done: tuple[float, ...], refused: tuple[float, ...], now: float, expected: float | None
) -> None:
    assert Restarts(cap=3, pause=60.0).wait(done, now, refused) == expected
