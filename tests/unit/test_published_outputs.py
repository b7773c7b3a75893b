"""What owners of Sparks have published is read rightly: values of theirs, data/published."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_cluster.doctor.cluster import FACTS, Cluster
from spark_cluster.doctor.examine import examine
from spark_cluster.facts.base import Facts
from spark_cluster.facts.docker import DOCKER
from spark_cluster.facts.gpu import GPU
from spark_cluster.facts.gpu_state import GPU_STATE
from spark_cluster.facts.hardware import HARDWARE
from spark_cluster.facts.host import HOST
from spark_cluster.facts.kernel_log import KERNEL_LOG
from spark_cluster.facts.links import LINKS
from spark_cluster.facts.memory import MEMORY
from spark_cluster.facts.netplan import NETPLAN
from spark_cluster.facts.rdma import ACCESS
from spark_cluster.facts.routes import ROUTES, Route
from spark_cluster.facts.software import SOFTWARE
from spark_cluster.rdma import counters, from_log, gids, nccl_log, perftest
from spark_cluster.rdma.log_notes import notes
from spark_cluster.serving import ray

from . import world
from .cases import write
from .shell import sh
from .test_doctor import CLOCK, HOSTS, cluster, healthy

FOLDER = world.DATA / "published"
HALVES = ("enp1s0f0np0", "enp1s0f1np1", "enP2p1s0f0np0", "enP2p1s0f1np1")


def published(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def found(**files: str) -> dict[str, list[str]]:
    """What the doctor finds on spark-2, by code, when its facts print these files and it is healthy
    otherwise."""
    by_name = {fact.name: fact for fact in FACTS}
    texts = {name.replace("_", "-"): published(file) for name, file in files.items()}
    facts = healthy("spark-2", "spark").updated(
        Facts({name: by_name[name].parse(text) for name, text in texts.items()})
    )
    whole = cluster()
    every = {**whole.facts, "spark-2": facts}
    told: dict[str, list[str]] = {}
    seen = Cluster(whole.inventory, every, {}, dict.fromkeys(HOSTS, CLOCK), whole.images)
    for finding in examine(seen):
        if finding.host == "spark-2":
            told.setdefault(finding.code, []).append(finding.what)
    return told


# nvidia-smi


def test_a_gb10_and_what_runs_on_it() -> None:
    gpu = GPU.parse(published("gpu.txt"))
    assert (gpu.names, gpu.driver, gpu.error) == (("NVIDIA GB10",), "580.178.04", "")
    assert [(p.pid, p.name) for p in gpu.processes] == [
        (3150, "python3"),
        (6330, "sglang::scheduler"),
        (197277, "VLLM::Worker_TP0"),
    ]
    assert "GPU005" not in found(gpu="gpu.txt")


def test_a_gb10_whose_driver_is_torn() -> None:
    gpu = GPU.parse(published("gpu-torn.txt"))
    assert (gpu.names, gpu.error) == ((), "No devices were found")
    assert found(gpu="gpu-torn.txt")["GPU001"] == ["nvidia-smi says: No devices were found"]


def test_a_gb10_that_does_not_say_why_it_is_held_back() -> None:
    state = GPU_STATE.parse(published("gpu-state.txt"))
    assert (state.sm_mhz, state.max_sm_mhz, state.watts) == (2405, 3003, 10.8)
    assert (state.utilization, state.celsius, state.reasons) == (0, 52, None)
    assert not {"GPU002", "GPU003"} & set(found(gpu_state="gpu-state.txt"))


# RDMA devices


def test_two_cabled_halves_and_two_that_are_not() -> None:
    states = ACCESS.parse(published("access.txt")).states
    assert {name for name, state in states.items() if state == "ACTIVE"} == {
        "rocep1s0f0",
        "roceP2p1s0f0",
    }
    assert states["rocep1s0f1"] == states["roceP2p1s0f1"] == "DOWN"


def test_gids_of_both_halves() -> None:
    tables = gids.parse(published("gids.txt"))
    for device, netdev, address in (
        ("rocep1s0f0", "enp1s0f0np0", "192.168.100.10"),
        ("roceP2p1s0f0", "enP2p1s0f0np0", "192.168.100.14"),
    ):
        entry = gids.find_gid(tables[device].entries, address)
        assert entry is not None
        assert (entry.index, entry.netdev, tables[device].netdev) == (3, netdev, netdev)


def test_counters_of_a_spark_that_has_served() -> None:
    reading = counters.parse(published("counters.txt"))
    assert reading.uptime == 1000.5
    busy = reading.devices["rocep1s0f0"]
    assert (busy.state, busy.rate) == ("ACTIVE", "200 Gb/sec (2X NDR)")
    assert (busy.driver, busy.source, busy.netdev) == ("mlx5", "octets", "enp1s0f0np0")
    assert (busy.xmit_bytes, busy.rcv_bytes) == (4 * 5611844238, 4 * 5611849678)
    assert (busy.xmit_packets, busy.raw["hw_counters/lifespan"]) == (22367604, 10)
    assert set(busy.errors.values()) == {0}
    idle = reading.devices["rocep1s0f1"]
    assert (idle.state, idle.rate, idle.xmit_bytes) == ("DOWN", "40 Gb/sec (4X QDR)", 0)
    assert "RDMA008" not in found(counters="counters.txt")


def test_hardware_and_its_firmware() -> None:
    hardware = HARDWARE.parse(published("hardware.txt"))
    nic = hardware.nics["enp1s0f1np1"]
    assert (nic.driver, nic.speed, nic.width, nic.gts) == ("mlx5_core", 200_000, 4, 32.0)
    assert (hardware.nics["enP7s7"].driver, hardware.nics["enP7s7"].speed) == ("r8127", 10_000)
    assert hardware.nics["wlP9s9"].wifi
    assert set(hardware.firmware.values()) == {"28.45.4028"}
    told = found(hardware="hardware.txt")
    assert told["RDMA037"] == ["rocep1s0f1, roceP2p1s0f1 runs firmware 28.45.4028"]
    assert not {"NET013", "NET014"} & set(told)


# ib_write_bw


@pytest.mark.parametrize(
    ("name", "gbits"),
    [("ib_write_bw-pair.txt", 92.57), ("ib_write_bw-R-q4.txt", 111.71)],
)
def test_a_measurement(name: str, gbits: float) -> None:
    measured = perftest.parse(published(name)).measured
    assert measured is not None
    assert measured.gbits == gbits


def test_a_measurement_that_failed() -> None:
    output = perftest.parse(published("ib_write_bw-status-12.txt"))
    assert output.measured is None
    assert "Failed status 12: no answer from the peer after all retries" in output.reasons


# The kernel's log, links, routes


def test_a_spark_that_was_started_without_a_cable(tmp_path: Path) -> None:
    """Its ConnectX left the bus: no half and no RDMA device is there, and nothing came back."""
    write(tmp_path / "log", "[    0.000000] Booting Linux\n" + published("dmesg-no-cable.txt"))
    write(tmp_path / "dmesg", f"#!/bin/sh\ncat {tmp_path}/log\n").chmod(0o755)
    said = sh(f"PATH={tmp_path}:$PATH\n{KERNEL_LOG.script(world.context())}")
    log = KERNEL_LOG.parse(said)
    assert (log.count("removal"), log.count("readded"), log.count("aer")) == (1, 0, 0)
    links = LINKS.parse(published("links-no-cable.txt")).links
    assert set(links) == {"lo", "enP7s7", "wlP9s9", "tailscale0", "docker0"}
    told = found(links="links-no-cable.txt")
    assert len(told["NET001"]) == 2
    assert not {"NET002", "NET011", "NET012", "RDMA001"} & set(told)


def test_an_older_image_keeps_halves_without_a_cable() -> None:
    links = LINKS.parse(published("links-uncabled-older-image.txt")).links
    assert {name: (links[name].up, links[name].carrier) for name in HALVES} == dict.fromkeys(
        HALVES, (True, False)
    )
    assert (links["enP7s7"].mtu, links["enP7s7"].carrier) == (9000, True)
    told = found(links="links-uncabled-older-image.txt")
    assert len(told["NET002"]) == 2
    assert "NET001" not in told


def test_routes_and_networkmanagers_connections() -> None:
    routes = ROUTES.parse(published("routes.txt"))
    assert routes.routes == (
        Route("default", "enP7s7", "192.168.1.1"),
        Route("10.60.184.0/24", "enp1s0f1np1"),
    )
    owners = {profile.device: profile.of_netplan for profile in routes.profiles}
    assert owners == {
        "enp1s0f1np1": True, "enP2p1s0f1np1": True, "enP7s7": False, "enP2p1s0f0np0": False,
    }  # fmt: skip
    told = found(routes="routes.txt")
    assert told["NET020"] == ["enP7s7 carries the default route"]
    (what,) = told["NET019"]
    assert "'Wired connection 3' active on enP7s7" in what


def test_a_netplan_file_for_both_halves() -> None:
    netplan = NETPLAN.parse(published("netplan.txt"))
    assert netplan.renderer == "NetworkManager"
    (file,) = netplan.effective
    assert file.interfaces == frozenset({"enp1s0f1np1", "enP2p1s0f1np1"})
    assert not file.is_ours


# Docker and the host


def test_docker_29_gives_the_gpu_by_cdi_alone() -> None:
    docker = DOCKER.parse(published("docker-29.txt"))
    assert (docker.version, docker.gpu, docker.in_group) == ("29.2.1", "cdi", True)
    assert "DOCKER002" not in found(docker="docker-29.txt")
    assert SOFTWARE.parse(published("software.txt")).toolkit == "1.19.1"


def test_docker_that_may_not_be_asked() -> None:
    docker = DOCKER.parse(published("docker-denied.txt"))
    assert (docker.version, docker.gpu) == ("", "")
    assert docker.error.startswith("permission denied while trying to connect")
    assert set(found(docker="docker-denied.txt")) >= {"DOCKER001"}


def test_the_memory_of_a_spark_that_serves() -> None:
    memory = MEMORY.parse(published("memory.txt"))
    assert (memory.total, memory.available) == (128520736768, 7068319744)
    assert memory.droppable == 7831998464 + 35471360 - 1034866688 - 1221259264
    assert (memory.short, memory.cma_total) == (False, None)
    (what,) = found(memory="memory.txt")["HOST011"]
    assert what.startswith("6.58 GiB of 120 GiB available (5 percent)")


def test_the_kernel_of_dgx_os() -> None:
    assert HOST.parse(published("host.txt")).kernel == "6.17.0-1021-nvidia"


# NCCL and Ray


def test_nccl_on_a_pair_with_an_address_on_one_half_only() -> None:
    witness = nccl_log.parse(published("nccl-2.28.9-pair.log"))
    assert (witness.version, witness.network, witness.rank, witness.nranks) == (
        "2.28.9", "IB", 1, 2,
    )  # fmt: skip
    assert witness.devices == ("rocep1s0f1", "roceP2p1s0f1")
    assert witness.carriers == {"rocep1s0f1": 1, "roceP2p1s0f1": 1}
    assert [(use.index, use.mtu) for use in witness.gids] == [(3, 1024), (0, 1024)]
    assert witness.gids[0].address == "192.168.100.16"
    assert witness.gids[1].address.startswith("fe80::")
    assert (witness.gdr, witness.failed, witness.unfinished) == (False, None, False)


def test_a_reported_release_is_a_note_with_its_condition() -> None:
    text = published("nccl-2.28.9-pair.log")
    report = from_log.read({"rank1.log": text})
    said = " ".join(notes(report))
    assert report.ranks[0].kind == "rdma"
    assert "can lose operations of its proxy on ARM and then hangs under load" in said


@pytest.mark.parametrize(
    "end",
    [
        "# Avg bus bandwidth    : 22.0443\n",
        "spark-a:1:1 [0] NCCL INFO comm 0xc53b8f7f6ab0 rank 1 nranks 2 cudaDev 0 busId f01000 - "
        "Destroy COMPLETE\n",
    ],
)
def test_a_reported_release_is_not_told_of_a_job_that_ended_well(end: str) -> None:
    report = from_log.read({"rank1.log": published("nccl-2.28.9-pair.log") + end})
    assert report.ranks[0].kind == "rdma"
    assert "hang" not in " ".join(notes(report))


def test_nccl_with_merged_nics() -> None:
    witness = nccl_log.parse(published("nccl-merged-nics.log"))
    assert witness.network == "IB"
    assert len(witness.devices) == 4
    assert witness.carriers == {"rocep1s0f0+rocep1s0f1": 1}
    assert witness.oob == "enP7s7:192.0.2.1"


def test_nccl_that_fell_back() -> None:
    witness = nccl_log.parse(published("nccl-socket-fallback.log"))
    assert (witness.network, witness.channels_socket, witness.fell_back) == ("Socket", 1, True)
    assert from_log.read({"rank0.log": published("nccl-socket-fallback.log")}).kind == "socket"


def test_ray_status_of_a_pair() -> None:
    status = ray.parse_status(published("ray-status.txt"))
    assert (status.active, status.gpus_total, status.error) == (2, 2.0, "")
