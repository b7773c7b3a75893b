"""The facts of faults that owners report: their shell over a made-up host, and what is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_cluster.facts.connectx import CONNECTX, MARKER, AerCounts, Hotplug
from spark_cluster.facts.kernel_log import KERNEL_LOG, KernelLogFact
from spark_cluster.facts.limits import LIMITS, UNLIMITED
from spark_cluster.facts.login import LOGIN
from spark_cluster.facts.memory import MEMORY
from spark_cluster.facts.probe import PRELUDE

from .cases import write
from .shell import sh
from .world import DATA, context

LOGS = DATA / "kernel-log"


def program(folder: Path, name: str, text: str) -> None:
    write(folder / name, f"#!/bin/sh\n{text}").chmod(0o755)


# The ConnectX


def tree(root: Path, hotplug: str, nonfatal: int) -> None:
    """The sysfs of a Spark's first half: two functions below one port."""
    port = root / "sys/devices/pci0000:00/0000:00:00.0"
    for function in ("0000:01:00.0", "0000:01:00.1"):
        for severity, total in (
            ("fatal", "FATAL"),
            ("nonfatal", "NONFATAL"),
            ("correctable", "COR"),
        ):
            count = nonfatal if severity == "nonfatal" else 0
            rows = f"Undefined 0\nDLP 0\nTLP {count}\nTOTAL_ERR_{total} {count}\n"
            write(port / function / f"aer_dev_{severity}", rows)
            write(port / f"aer_dev_{severity}", f"RxErr 0\nTOTAL_ERR_{total} 0\n")
        device = root / "sys/class/infiniband" / f"rocep1s0f{function[-1]}"
        device.mkdir(parents=True)
        (device / "device").symlink_to(port / function)
    (root / "sys/class/infiniband/rxe0").mkdir()
    if hotplug:
        folder = root / "sys/devices/platform/MTKP0001:00/pcie_hotplug"
        write(folder / "hotplug_enabled", f"{hotplug}\n")
        write(folder / "debug_state", "1\n")


def connectx(root: Path) -> str:
    script = CONNECTX.script(context()).replace("/sys/", f"{root}/sys/")
    return sh(script.replace(MARKER, f"{root}{MARKER}")).replace(str(root), "")


@pytest.mark.parametrize("armed", ["0", "1"])
def test_the_connectx_on_its_bus(tmp_path: Path, armed: str) -> None:
    tree(tmp_path, armed, nonfatal=7)
    if armed == "1":
        write(tmp_path / MARKER.lstrip("/"), "")
    found = CONNECTX.parse(connectx(tmp_path))
    assert found.hotplug == Hotplug(True, armed == "1", armed == "1", True)
    assert found.errors == {
        "0000:00:00.0": AerCounts(),
        "0000:01:00.0": AerCounts(nonfatal=7),
        "0000:01:00.1": AerCounts(nonfatal=7),
    }
    assert found.errors["0000:01:00.0"].uncorrectable == 7


def test_a_host_without_hotplug_or_connectx_says_nothing_of_them(tmp_path: Path) -> None:
    (tmp_path / "sys/class/infiniband/rxe0").mkdir(parents=True)
    found = CONNECTX.parse(connectx(tmp_path))
    assert found.errors == {}
    assert found.hotplug == Hotplug(there=False, marker=False)
    assert CONNECTX.parse("").hotplug.marker is None


@pytest.mark.parametrize("value", ["", "2", "-1", "on", "1 1", "²"])
def test_a_hotplug_that_says_something_else_is_unknown(value: str) -> None:
    path = "/sys/devices/platform/MTKP0001:00/pcie_hotplug/hotplug_enabled"
    assert CONNECTX.parse(f"{path}:{value}\n").hotplug.armed is None


# The kernel's log


def kernel_log(folder: Path, ring: str, journal: str | None = None) -> KernelLogFact:
    """Read with these in the place of the host's own `dmesg` and journal."""
    write(folder / "ring", ring)
    program(folder, "dmesg", f"cat {folder}/ring\n")
    program(folder, "journalctl", f"cat {folder}/journal\n")
    if journal is not None:
        write(folder / "journal", journal)
    return KERNEL_LOG.parse(sh(f"PATH={folder}:$PATH\n{KERNEL_LOG.script(context())}"))


def log(name: str) -> str:
    return (LOGS / f"{name}.txt").read_text(encoding="utf-8")


def test_a_healthy_boot_says_nothing(tmp_path: Path) -> None:
    """Its line about insufficient power is on healthy Sparks, too."""
    found = kernel_log(tmp_path, log("healthy"))
    assert found.read
    assert found.said == {}


def test_a_connectx_that_came_back(tmp_path: Path) -> None:
    found = kernel_log(tmp_path, log("readded"))
    assert {kind: said.count for kind, said in found.said.items()} == {
        "removal": 1,
        "plugin": 1,
        "readded": 4,
    }
    assert found.said["readded"].at == 5213.104551
    assert found.said["readded"].line.endswith("PCIe slot power capability was not advertised.")


def test_pcie_errors(tmp_path: Path) -> None:
    """Those of the ConnectX and of the ports above it: not the disk's, not what was corrected."""
    found = kernel_log(tmp_path, log("aer"))
    assert found.count("aer") == 3
    assert found.said["aer"].at == 9120.447012


def test_the_drivers_failed_allocations(tmp_path: Path) -> None:
    found = kernel_log(tmp_path, log("nvrm"))
    assert found.count("nvrm") == 2
    assert found.count("aer") == 0


def test_where_the_ring_has_lost_its_beginning_the_journal_tells(tmp_path: Path) -> None:
    journal = "".join(
        line.replace("] ", "] spark-2 kernel: ", 1) for line in log("readded").splitlines(True)
    )
    found = kernel_log(tmp_path, "[90000.1] usb 1-1: new device\n", journal)
    assert found.count("readded") == 4
    assert found.said["readded"].at == 5213.104551


def test_a_ring_without_its_beginning_and_without_a_journal_still_tells(tmp_path: Path) -> None:
    lines = "".join(log("aer").splitlines(True)[3:])
    assert kernel_log(tmp_path, lines).count("aer") == 3


def test_a_log_that_may_not_be_read_is_unknown(tmp_path: Path) -> None:
    found = kernel_log(tmp_path, "")
    assert found == KernelLogFact(read=False)


@pytest.mark.parametrize(
    "text",
    [
        "said aer 3 [1.5] x\n",  # nothing says that a log was read
        "lines 4\nsaid aer ² [1.5] x\n",
        "lines 4\nsaid other 3 [1.5] x\n",
        "lines 4\nsaid aer 0 [1.5] x\n",
        "lines 4\nsaid aer\n",
    ],
)
def test_what_is_not_the_logs_own_form_is_not_heeded(text: str) -> None:
    assert KERNEL_LOG.parse(text).said == {}


def test_a_line_without_a_time_and_a_long_one_are_kept_in_part() -> None:
    found = KERNEL_LOG.parse("lines 4\nsaid aer 1 " + "x" * 5000)
    assert found.said["aer"].at is None
    assert len(found.said["aer"].line) == 300


# Limits


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("containerd 1024 524288 files\n", 1024),
        ("containerd unlimited unlimited files\n", UNLIMITED),
        ('docker "nofile":{"Hard":65536,"Name":"nofile","Soft":4096}\ncontainerd 1024 x\n', 4096),
        ('docker "nofile":{"Soft":-1}\n', UNLIMITED),
        ('docker "nofile":{"Hard":65536}\ncontainerd 2048 4096 files\n', 2048),
        ("containerd \n", None),
        ("", None),
    ],
)
def test_the_open_files_of_a_container(text: str, files: int | None) -> None:
    assert LIMITS.parse(text).open_files == files


def test_limits_are_read_where_they_stand(tmp_path: Path) -> None:
    daemon = '{"default-ulimits": {\n  "nofile": { "Name": "nofile", "Hard": 9, "Soft": 8 }\n}}\n'
    write(tmp_path / "daemon.json", daemon)
    program(tmp_path, "pidof", "echo $$\n")
    script = f"PATH={tmp_path}:$PATH\n{LIMITS.script(context())}"
    found = LIMITS.parse(sh(script.replace("/etc/docker/daemon.json", f"{tmp_path}/daemon.json")))
    assert found.open_files == 8
    assert found.swappiness is not None
    assert LIMITS.parse(sh(script)).open_files != 8


# Users who linger


def test_who_lingers_is_read_by_uid(tmp_path: Path) -> None:
    for name in ("root", "nobody", "a stranger"):
        write(tmp_path / name, "")
    script = PRELUDE + LOGIN.script(context())
    found = LOGIN.parse(sh(script.replace("/var/lib/systemd/linger", str(tmp_path))))
    assert found.lingering == {0, 65534}


@pytest.mark.parametrize(
    ("text", "uid", "loses"),
    [
        ("uid=1000\n", 1000, True),
        ("uid=1000\nlingers=1000\n", 1000, False),
        ("uid=1000\nlingers=1000\n", 1001, True),
        ("uid=1000\nRemoveIPC=no\n", 1000, False),
        ("uid=1000\n", 999, False),
        ("uid=1000\n", 0, False),
        ("uid=\nlingers=\n", None, False),
    ],
)
def test_whose_ipc_objects_logind_removes(text: str, uid: int | None, *, loses: bool) -> None:
    assert LOGIN.parse(text).loses_ipc(uid) is loses


# Memory


@pytest.mark.parametrize(
    ("total", "available", "short"),
    [
        (125_513_676, 4_100_000, True),
        (125_513_676, 4_300_000, False),
        (62_000_000, 4_100_000, True),
        (8_000_000, 2_000_000, False),
        (0, 0, False),
    ],
)
def test_4_gib_are_the_least_of_a_large_host(total: int, available: int, *, short: bool) -> None:
    found = MEMORY.parse(f"MemTotal: {total} kB\nMemAvailable: {available} kB\n")
    assert found.short is short


def test_a_kernel_that_tells_no_contiguous_memory_is_unknown() -> None:
    assert MEMORY.parse("MemTotal: 1 kB\n").cma_total is None
    assert MEMORY.parse("CmaTotal: 0 kB\nCmaFree: 940604 kB\n").cma_free == 940604 * 1024
