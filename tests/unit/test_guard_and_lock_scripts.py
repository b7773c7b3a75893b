"""The scripts of the network guard and of the lock, run by a real sh in folders of a test's own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from spark_cluster.core.step import Change
from spark_cluster.facts import probe
from spark_cluster.facts.base import ProbeContext
from spark_cluster.facts.lock import Holder
from spark_cluster.facts.table import FACTS
from spark_cluster.runner import guard_scripts as guard
from spark_cluster.runner import lock
from spark_cluster.runner.outcome import change_script
from spark_cluster.steps import registry

from . import world
from .cases import write
from .shell import shellcheck

RUN = world.RUN
NEW = Change("/etc/netplan/40-cx7.yaml", "absent", "there", "echo new > ./40-cx7.yaml\n")


# The guard


@dataclass
class Node:
    """A host in a folder: /etc, /var/lib, and programs that only write down their arguments."""

    root: Path

    def __post_init__(self) -> None:
        write(self.netplan / "01-old.yaml", "old\n")
        (self.root / "etc/systemd/system").mkdir(parents=True)
        for name in ("netplan", "systemctl", "logger", "ip"):
            self.program(name, 'echo "$(basename "$0") $*" >> "$LOG"\n')
        # `systemd-run … --on-active=…` arms; without that it runs the command, as with --wait.
        self.program(
            "systemd-run",
            'echo "systemd-run $*" >> "$LOG"\n'
            'case "$*" in *--on-active*) exit 0 ;; esac\n'
            'while [ "${1#--}" != "$1" ]; do shift; done\n"$@"\n',
        )

    def program(self, name: str, text: str) -> None:
        path = write(self.root / "bin" / name, f"#!/bin/sh\n{text}")
        path.chmod(0o755)

    @property
    def netplan(self) -> Path:
        return self.root / "etc/netplan"

    @property
    def folder(self) -> Path:
        return self.root / "var/lib/spark-cluster/guard" / RUN

    @property
    def log(self) -> list[str]:
        path = self.root / "log"
        return path.read_text().splitlines() if path.exists() else []

    def ran(self, part: str) -> bool:
        return any(part in line for line in self.log)

    def sh(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        paths = r"(?<![\w.-])(?=/(etc/netplan|etc/systemd|var/lib/spark-cluster)\b)"
        script = re.sub(paths, str(self.root), script)
        return subprocess.run(
            ["/bin/sh", "-s", *arguments],
            input=script,
            text=True,
            capture_output=True,
            cwd="/",
            timeout=20,
            env={"PATH": f"{self.root}/bin:/usr/bin:/bin", "LOG": str(self.root / "log")},
        )

    def arm(self, *changes: Change, seconds: int = 120) -> int:
        return self.sh(guard.arm(RUN, seconds, changes or (NEW,))).returncode

    def files(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.netplan.iterdir()}

    @property
    def units(self) -> list[str]:
        """What lies in /etc/systemd/system, folders apart."""
        folder = self.root / "etc/systemd/system"
        found = [path for path in folder.rglob("*") if path.is_symlink() or path.is_file()]
        return sorted(str(path.relative_to(folder)) for path in found)

    def last_sign_of_life(self, seconds: float) -> None:
        """The controller was last heard of so many seconds ago."""
        (self.folder / "alive").write_text(f"{uptime() - seconds:.0f}\n")

    def fire(self, *arguments: str) -> int:
        """What the dead-man does when its timer goes off, or at `boot`."""
        script = (self.folder / "revert.sh").read_text().replace(str(self.root), "")
        return self.sh(script, *arguments).returncode

    def revert(self) -> None:
        """The dead-man, long after the controller was last heard of."""
        self.last_sign_of_life(3600)
        assert self.fire() == 0


def uptime() -> float:
    """Seconds since this machine was booted."""
    return float(Path("/proc/uptime").read_text().split()[0])


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_the_change_is_tried_then_armed_then_written_then_applied(node: Node) -> None:
    assert node.arm() == 0
    assert node.files() == {"01-old.yaml": "old\n", "40-cx7.yaml": "new\n"}
    assert (node.folder / "before/01-old.yaml").read_text() == "old\n"
    assert not (node.folder / "before/40-cx7.yaml").exists()
    order = [line.partition(" --")[0] for line in node.log if not line.startswith("logger")]
    assert order[:2] == ["ip addr show", "netplan generate"]
    armed = next(i for i, line in enumerate(node.log) if "--on-active=120" in line)
    applied = next(i for i, line in enumerate(node.log) if line == "netplan apply")
    tried = next(i for i, line in enumerate(node.log) if line.startswith("netplan generate"))
    assert tried < armed < applied
    assert (node.folder.stat().st_mode & 0o777) == 0o700


def test_the_trial_is_a_copy(node: Node) -> None:
    node.program(
        "netplan",
        'if [ "$1" = generate ]; then\n'
        '  cat "$3/etc/netplan/40-cx7.yaml" "$3/etc/netplan/01-old.yaml" > "$LOG.trial"\n'
        f'  [ ! -e {node.netplan}/40-cx7.yaml ] && echo untouched >> "$LOG.trial"\nfi\n',
    )
    assert node.arm() == 0
    assert (node.root / "log.trial").read_text() == "new\nold\nuntouched\n"


def test_what_netplan_rejects_is_neither_armed_nor_written(node: Node) -> None:
    node.program("netplan", '[ "$1" != generate ]\n')
    assert node.arm() == guard.REJECTED
    assert node.files() == {"01-old.yaml": "old\n"}
    assert not node.ran("systemd-run")
    assert node.ran("rejected by netplan generate")


@pytest.mark.parametrize(("name", "text"), [("systemd-run", "exit 1\n"), ("systemctl", "exit 3\n")])
def test_without_its_timer_nothing_is_written(node: Node, name: str, text: str) -> None:
    node.program(name, text)
    assert node.arm() == guard.NOT_ARMED
    assert node.files() == {"01-old.yaml": "old\n"}
    assert not node.ran("netplan apply")
    assert node.units == []


def test_a_failure_before_it_is_armed_is_told_from_one_after(node: Node) -> None:
    write(node.root / "var/lib/spark-cluster/guard", "a file, not a folder")
    assert node.arm() == guard.NOT_ARMED
    assert node.files() == {"01-old.yaml": "old\n"}
    assert node.ran("could not be armed, nothing applied")


def test_an_edit_that_fails_in_the_trial_is_not_applied(node: Node) -> None:
    broken = Change("x", "a", "b", "echo new > ./40-cx7.yaml\nsh -c 'exit 9'\necho on > ./on\n")
    assert node.arm(broken) == guard.NOT_ARMED
    assert node.files() == {"01-old.yaml": "old\n"}
    assert not node.ran("systemd-run")
    assert not node.ran("netplan apply")


def test_the_end_of_netplan_apply_is_the_scripts(node: Node) -> None:
    node.program("netplan", '[ "$1" = generate ] || exit 78\n')
    assert node.arm() == 78


def test_the_dead_man_puts_everything_back(node: Node) -> None:
    write(node.netplan / ".hidden.yaml", "h\n")
    write(node.netplan / "sub dir.yaml", "s\n")
    before = node.files()
    spoil = Change(
        "all", "a", "b", "rm ./01-old.yaml\necho x > './sub dir.yaml'\necho n > ./.n.yaml\n"
    )
    assert node.arm(NEW, spoil) == 0
    assert node.files() != before
    node.revert()
    assert node.files() == before
    assert node.log.count("netplan apply") == 2
    assert (node.folder / "reverted").exists()
    assert node.ran("reverted")


def test_confirming_disarms(node: Node) -> None:
    assert node.arm() == 0
    assert node.sh(guard.confirm(RUN)).returncode == 0
    assert node.ran(f"systemctl stop {guard.unit_name(RUN)}.timer")
    assert (node.folder / "confirmed").exists()
    assert node.files() == {"01-old.yaml": "old\n", "40-cx7.yaml": "new\n"}
    assert node.units == []


def test_what_is_confirmed_outlives_a_power_cut(node: Node) -> None:
    """The files are synced while the unit for the next boot is there, its removal afterwards."""
    assert node.arm() == 0
    node.program("sync", f'echo "sync $*: $(ls {node.root}/etc/systemd/system)" >> "$LOG"\n')
    assert node.sh(guard.confirm(RUN)).returncode == 0
    first, last = (line for line in node.log if line.startswith("sync "))
    assert "/etc/netplan/40-cx7.yaml" in first
    assert f"{guard.unit_name(RUN)}-boot.service" in first.partition(":")[2]
    assert "/etc/systemd/system" in last
    assert f"{guard.unit_name(RUN)}-boot.service" not in last.partition(":")[2]


def test_confirming_too_late_says_so(node: Node) -> None:
    assert node.arm() == 0
    node.revert()
    assert node.sh(guard.confirm(RUN)).returncode == 1
    assert not (node.folder / "confirmed").exists()


def test_confirming_while_the_dead_man_works_leaves_nothing_half_done(node: Node) -> None:
    assert node.arm() == 0
    # The service had begun, and `systemctl stop` ended it before it put anything back.
    node.program("systemctl", f'[ "$1" != stop ] || touch {node.folder}/reverting\n')
    assert node.sh(guard.confirm(RUN)).returncode == 1
    assert node.files() == {"01-old.yaml": "old\n"}


def sleeping(node: Node, last: int, then: str) -> None:
    """`sleep` takes no time; the controller gives a sign of life until the `last`, `then` it
    does something else."""
    alive = node.folder / "alive"
    node.program(
        "sleep",
        'echo "sleep $*" >> "$LOG"\n'
        f'if [ "$(grep -c ^sleep "$LOG")" -lt {last} ]; then '
        f"cut -d. -f1 /proc/uptime > {alive}; else {then}; fi\n",
    )


def test_the_dead_man_waits_while_the_controller_lives(node: Node) -> None:
    assert node.arm(seconds=30) == 0
    node.last_sign_of_life(5)
    sleeping(node, 4, f"echo {uptime() - 31:.0f} > {node.folder}/alive")
    assert node.fire() == 0
    assert sum(line.startswith("sleep") for line in node.log) == 4
    assert node.files() == {"01-old.yaml": "old\n"}
    assert (node.folder / "reverted").exists()


def test_the_dead_man_does_nothing_while_it_waits(node: Node) -> None:
    assert node.arm(seconds=30) == 0
    sleeping(node, 2, 'kill -9 "$PPID"')  # as `systemctl stop` does when the change is confirmed
    assert node.fire() != 0
    assert node.files() == {"01-old.yaml": "old\n", "40-cx7.yaml": "new\n"}
    assert not (node.folder / "reverting").exists()
    assert node.sh(guard.confirm(RUN)).returncode == 0
    assert node.units == []


def test_the_dead_man_waits_in_real_time(node: Node) -> None:
    assert node.arm(seconds=2) == 0
    assert node.sh(guard.alive(RUN)).returncode == 0
    started = time.monotonic()
    assert node.fire() == 0
    assert 1.0 <= time.monotonic() - started < 10.0
    assert node.files() == {"01-old.yaml": "old\n"}


def test_a_sign_of_life_is_one(node: Node) -> None:
    assert node.arm() == 0
    node.last_sign_of_life(3600)
    assert node.sh(guard.alive(RUN)).returncode == 0
    assert uptime() - float((node.folder / "alive").read_text()) < 60


def test_a_clock_that_is_set_back_does_not_hold_the_dead_man(node: Node) -> None:
    assert node.arm() == 0
    node.last_sign_of_life(3600)
    tomorrow = time.time() + 86400
    os.utime(node.folder / "alive", (tomorrow, tomorrow))
    sleeping(node, 0, '[ "$(grep -c ^sleep "$LOG")" -lt 100 ] || kill -9 "$PPID"')
    assert node.fire() == 0
    assert node.files() == {"01-old.yaml": "old\n"}


def test_the_dead_man_needs_no_sign_of_life_to_work(node: Node) -> None:
    assert node.arm() == 0
    (node.folder / "alive").unlink()
    assert node.fire() == 0
    assert node.files() == {"01-old.yaml": "old\n"}


BOOT_UNIT = f"{guard.unit_name(RUN)}-boot.service"


def test_a_reboot_takes_it_back(node: Node) -> None:
    assert node.arm() == 0
    assert node.units == [BOOT_UNIT, f"sysinit.target.wants/{BOOT_UNIT}"]
    unit = node.root / "etc/systemd/system/sysinit.target.wants" / BOOT_UNIT
    assert f"ExecStart=/bin/sh {node.folder}/revert.sh boot\n" in unit.read_text()
    before = len(node.log)
    assert node.fire("boot") == 0  # at once, however fresh the last sign of life
    assert node.files() == {"01-old.yaml": "old\n"}
    netplan = [line for line in node.log[before:] if line.startswith("netplan")]
    assert netplan == ["netplan generate"]  # the network is not up yet
    assert node.units == []
    assert (node.folder / "reverted").exists()


def test_the_unit_is_there_before_anything_is_written(node: Node) -> None:
    unit = node.root / "etc/systemd/system" / BOOT_UNIT
    node.program(
        "systemd-run",
        'case "$*" in *--on-active*)\n'
        f'  [ -e {unit} ] && [ ! -e {node.netplan}/40-cx7.yaml ] && echo ready >> "$LOG" ;;\n'
        "esac\n",
    )
    assert node.arm() == 0
    assert node.log.count("ready") == 1


def test_the_dead_man_leaves_no_unit(node: Node) -> None:
    assert node.arm() == 0
    node.revert()
    assert node.units == []


def test_taking_it_back_at_once_does_not_wait(node: Node) -> None:
    assert node.arm() == 0
    sleeping(node, 0, 'kill -9 "$PPID"')
    assert node.sh(guard.revert_now(RUN)).returncode == 0
    assert node.units == []
    assert node.sh(guard.reverted(RUN)).returncode == 0


def test_taking_it_back_at_once(node: Node) -> None:
    assert node.arm() == 0
    assert node.sh(guard.reverted(RUN)).returncode == 1
    assert node.sh(guard.revert_now(RUN)).returncode == 0
    assert node.files() == {"01-old.yaml": "old\n"}
    assert (node.folder / "reverted").exists()
    assert node.ran(f"systemctl stop {guard.unit_name(RUN)}.timer")


def test_taking_it_back_while_the_dead_man_does_is_left_to_it(node: Node) -> None:
    assert node.arm() == 0
    (node.folder / "reverting").touch()
    before = len(node.log)
    assert node.sh(guard.revert_now(RUN)).returncode == 0
    assert not any("revert" in line for line in node.log[before:] if "systemd-run" in line)


def test_the_file_that_the_step_makes_goes_through_the_guard(node: Node) -> None:
    """The step's own commands, here-documents and all, inside the script's function."""
    step = registry()["netplan"]
    view = world.view("spark-2", {"spark-2": {"netplan": "active\n"}})
    changes = step.assess(view, step.params(templates=("40-cx7.yaml.j2",))).changes
    assert node.arm(*changes) == 0
    file = node.netplan / "40-cx7.yaml"
    assert file.read_text() == world.rendered("40-cx7.yaml.j2", "spark-2", "NetworkManager")
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(node.files()) == ["01-old.yaml", "40-cx7.yaml"]


# The lock


@dataclass
class Run:
    """A process that wants the lock."""

    process: subprocess.Popen[str]

    @property
    def first_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def end(self) -> int:
        """What a controller does: close the standard input."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(timeout=20)


class Host:
    """Where runs compete for one lock."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "spark-cluster.lock"
        self.runs: list[Run] = []

    def take(
        self,
        verb: str,
        who: str = "me",
        preempt: Sequence[str] = (),
        wait: int = 0,
        again: bool = False,
    ) -> Run:
        holder = Holder(verb, who)
        script = lock.script(holder, preempt=tuple(preempt), again=again, wait=wait)
        script = script.replace("/run/spark-cluster.lock", str(self.file))
        # The script comes as an argument, and the standard input stays open, as over SSH.
        process = subprocess.Popen(
            ["/bin/sh", "-c", script.replace("flock -w 10", "flock -w 1")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.runs.append(Run(process))
        return self.runs[-1]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    if shutil.which("flock") is None:
        pytest.skip("no flock on this machine (apt install util-linux)")
    there = Host(tmp_path)
    yield there
    for run in there.runs:
        run.process.kill()
        run.process.wait()


def test_the_second_is_told_who_holds_the_lock(host: Host) -> None:
    assert host.take("launch", "eve@desk (pid 7) since noon").first_line == "taken"
    second = host.take("bootstrap")
    assert second.first_line == "held launch by eve@desk (pid 7) since noon"
    assert second.process.wait(timeout=20) == 75


def test_the_end_of_the_standard_input_lets_go(host: Host) -> None:
    first = host.take("launch")
    assert first.first_line == "taken"
    assert first.end() == 0
    assert host.take("bootstrap").first_line == "taken"


def test_a_killed_holder_lets_go(host: Host) -> None:
    first = host.take("launch")
    assert first.first_line == "taken"
    first.process.kill()
    first.process.wait()
    assert host.take("bootstrap").first_line == "taken"


def test_a_run_takes_its_lock_from_its_own_connection_that_the_host_believes_alive(
    host: Host,
) -> None:
    assert host.take("bootstrap", "me (pid 7) since noon").first_line == "taken"
    other = host.take("bootstrap", "me (pid 8) since noon", again=True)
    assert other.first_line == "held bootstrap by me (pid 7) since noon"
    again = host.take("bootstrap", "me (pid 7) since noon", again=True)
    assert again.first_line == "taken-from bootstrap by me (pid 7) since noon"


def test_one_that_waits_gets_it_when_the_first_ends(host: Host) -> None:
    first = host.take("launch")
    assert first.first_line == "taken"
    second = host.take("bootstrap", wait=15)
    assert first.end() == 0
    assert second.first_line == "taken"


def test_a_teardown_takes_it_from_a_launch(host: Host) -> None:
    first = host.take("launch", "eve")
    assert first.first_line == "taken"
    second = host.take("teardown", "bob", preempt=lock.PREEMPTIBLE)
    assert second.first_line == "taken-from launch by eve"
    assert first.process.wait(timeout=20) != 0
    assert host.take("bootstrap").first_line == "held teardown by bob"


def test_a_teardown_does_not_take_it_from_a_bootstrap(host: Host) -> None:
    first = host.take("bootstrap", "eve")
    assert first.first_line == "taken"
    second = host.take("teardown", "bob", preempt=lock.PREEMPTIBLE)
    assert second.first_line == "held bootstrap by eve"
    assert first.process.poll() is None


def test_a_name_with_shell_in_it_is_only_a_name(host: Host) -> None:
    name = '$(touch pwned) `touch pwned`\' * "x"'
    assert host.take("launch", name).first_line == "taken"
    assert host.take("bootstrap").first_line == f"held launch by {name}"
    assert not Path("pwned").exists()


def test_a_holder_without_a_name_is_not_killed(host: Host) -> None:
    first = host.take("bootstrap", "eve")
    assert first.first_line == "taken"
    Path(f"{host.file}.holder").unlink()  # as in the moment before it is written
    second = host.take("launch", "bob")
    assert second.first_line.startswith("held")
    assert first.process.poll() is None


# Every script that changes a host, by shellcheck


def scripts() -> dict[str, str]:
    found = {
        "guard: arm": guard.arm(RUN, 120, (NEW,)),
        "guard: confirm": guard.confirm(RUN),
        "guard: revert": guard.revert_now(RUN),
        "guard: dead-man": guard.arm(RUN, 120, ())
        .partition("<<'SPARK_CLUSTER_REVERT'\n")[2]
        .partition("SPARK_CLUSTER_REVERT\n")[0],
        "lock": lock.script(Holder("launch", "me"), preempt=lock.PREEMPTIBLE),
        "change": change_script(RUN, "swap", "swapoff /swap.img\n"),
    }
    context = ProbeContext(
        world.inventory().hosts["spark-2"], world.inventory(), world.deployment()
    )
    for name, fact in FACTS.items():
        found[f"probe: {name}"] = probe.script([fact], context)
    return found


@pytest.mark.parametrize("name", list(scripts()))
def test_shellcheck_finds_nothing(name: str) -> None:
    assert shellcheck(scripts()[name]) == ""
