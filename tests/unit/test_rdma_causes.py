"""Why NCCL cannot use RDMA: one thing wrong at a time, on an otherwise healthy rank."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.rdma.causes import ContainerAccess, Setting, causes, from_a_file, selected
from spark_cluster.rdma.counters import CounterReading, RdmaCounters
from spark_cluster.rdma.evidence import Rail, Rank
from spark_cluster.rdma.gids import DeviceGids, GidEntry, RoceVersion
from spark_cluster.rdma.nccl_log import GidUse, NcclWitness

DEVICE, OTHER = "rocep1s0f1", "roceP2p1s0f1"
ADDRESS = "192.168.100.10"


def gid(index: int, address: str | None, version: RoceVersion = "v2") -> GidEntry:
    text = "fd5b:ac1a:0000:0000:0000:0000:0000:0001"
    if address:
        octets = [int(part) for part in address.split(".")]
        text = "0000:0000:0000:0000:0000:ffff:{:02x}{:02x}:{:02x}{:02x}".format(*octets)
    return GidEntry(index, text, address, version, "enp1s0f1np1")


def table(*entries: GidEntry) -> dict[str, DeviceGids]:
    return {DEVICE: DeviceGids(DEVICE, True, "enp1s0f1np1", entries)}


MLX5 = table(gid(0, None, "v1"), gid(1, None), gid(2, ADDRESS, "v1"), gid(3, ADDRESS))
SHIFTED = table(gid(1, None), gid(4, ADDRESS, "v1"), gid(5, ADDRESS))

HEALTHY = Setting(
    rank=Rank("spark-2", 0, (Rail(DEVICE, "enp1s0f1np1"),)),
    grants=ContainerAccess(
        "vllm-head", (DEVICE, OTHER), None, True, {"NCCL_IB_HCA": f"={DEVICE}:1"}
    ),
    reading=CounterReading(
        1.0, {name: RdmaCounters(name, True, "ACTIVE") for name in (DEVICE, OTHER)}, {}
    ),
    gids=MLX5,
    gids_before=MLX5,
    witness=NcclWitness(gids=(GidUse(3, ADDRESS, 4096, DEVICE),)),
    addresses={DEVICE: ADDRESS},
)


def grants(**changed: Any) -> Setting:
    assert HEALTHY.grants is not None
    return replace(HEALTHY, grants=replace(HEALTHY.grants, **changed))


def env(**variables: str) -> Setting:
    return grants(env=variables)


def state(word: str) -> Setting:
    found = {DEVICE: RdmaCounters(DEVICE, word != "absent", word)}
    return replace(HEALTHY, reading=CounterReading(1.0, found, {}))


def test_a_healthy_rank_has_no_cause() -> None:
    assert causes(HEALTHY) == []


def test_nothing_known_is_no_cause() -> None:
    assert causes(Setting(HEALTHY.rank)) == []


@pytest.mark.parametrize(
    ("setting", "code", "words"),
    [
        (grants(devices=()), "RDMA017", "vllm-head on spark-2 (rank 0) has no /dev/infiniband"),
        (grants(devices=(OTHER,)), "RDMA017", f"lacks the /dev/infiniband file of {DEVICE}"),
        (grants(memlock=8 << 20, ipc_lock=False), "RDMA017", "may lock 8 MiB of memory and lacks"),
        (env(NCCL_NET="Socket"), "RDMA018", "NCCL_NET=Socket asks for sockets"),
        (env(NCCL_IB_DISABLE="1"), "RDMA018", "NCCL_IB_DISABLE turns RDMA off"),
        (env(NCCL_IB_HCA="=mlx5_7:1"), "RDMA018", f"selects none of the host's devices ({DEVICE}"),
        (env(NCCL_IB_HCA=f"={OTHER}"), "RDMA018", f"selects {OTHER}; the recipe names {DEVICE}"),
        (env(NCCL_IB_HCA="roce"), "RDMA018", f"selects {DEVICE}, {OTHER}; the recipe names"),
        (state("DOWN"), "RDMA002", "the port is DOWN"),
        (state("absent"), "RDMA001", "the device is not there"),
        (replace(HEALTHY, gids=table(gid(1, None))), "RDMA003", f"no RoCE v2 GID maps {ADDRESS}"),
        (
            replace(HEALTHY, gids=SHIFTED, gids_before=SHIFTED),
            "RDMA019",
            f"the GID of {ADDRESS} had index 3 when NCCL connected and has 5 now",
        ),
        (
            replace(HEALTHY, gids=SHIFTED, witness=None),
            "RDMA019",
            "had index 3 at the first reading and has 5 now",
        ),
        (
            env(NCCL_IB_GID_INDEX="1"),
            "RDMA019",
            "pinned to 1, which is fd5b:ac1a:0000:0000:0000:0000:0000:0001; the GID of "
            f"{ADDRESS} has index 3",
        ),
        (env(NCCL_IB_GID_INDEX="2"), "RDMA019", f"pinned to 2, which is {ADDRESS} in RoCE v1"),
        (env(NCCL_IB_GID_INDEX="9"), "RDMA019", "pinned to 9, which is nothing"),
    ],
)
def test_one_thing_wrong(setting: Setting, code: str, words: str) -> None:
    (found,) = causes(setting)
    assert found.code == code
    assert words in found.text


@pytest.mark.parametrize(
    "setting",
    [
        grants(memlock=8 << 20, ipc_lock=True),
        grants(memlock=None, ipc_lock=False),
        env(NCCL_NET="IB", NCCL_IB_DISABLE="0", NCCL_IB_HCA=DEVICE),
        env(NCCL_IB_GID_INDEX="3"),
        env(NCCL_IB_GID_INDEX="-1"),
    ],
)
def test_enough_is_enough(setting: Setting) -> None:
    assert causes(setting) == []


def test_nccls_own_word_counts_more_than_the_containers() -> None:
    """vLLM copies the driver's NCCL_ variables over those of every worker."""
    witness = NcclWitness(env={"NCCL_IB_HCA": f"={OTHER}:1"})
    (found,) = causes(replace(HEALTHY, witness=witness))
    assert OTHER in found.text


@pytest.mark.parametrize(
    ("choice", "device", "expected"),
    [
        ("", DEVICE, True),
        ("^", DEVICE, False),
        (DEVICE, DEVICE, True),
        ("roce", DEVICE, True),
        ("=roce", DEVICE, False),
        (f"={DEVICE}:1", DEVICE, True),
        (f"={DEVICE}:2", DEVICE, False),
        (f"={OTHER}:1,{DEVICE}:1", DEVICE, True),
        (f"^{DEVICE}", DEVICE, False),
        (f"^={DEVICE}", OTHER, True),
        ("mlx5_1", "mlx5_10", True),
        ("=mlx5_1", "mlx5_10", False),
    ],
)
def test_what_nccl_ib_hca_selects(choice: str, device: str, expected: bool) -> None:
    assert selected(choice, device) is expected


@given(st.text(alphabet="^=,:1abroce_"), st.sampled_from([DEVICE, OTHER]))
def test_excluding_is_the_opposite(choice: str, device: str) -> None:
    if not choice.startswith("^"):
        assert selected(f"^{choice}", device) is not selected(choice, device)


def test_what_nccl_was_given_by_a_file_in_the_image() -> None:
    """Of NCCL's own words: it reads nccl.conf without naming it."""
    given = {"NCCL_IB_HCA": f"={DEVICE}:1", "NCCL_CUMEM_ENABLE": "0"}
    assert from_a_file(replace(HEALTHY, witness=NcclWitness(env=given))) == []
    more = {**given, "NCCL_IB_USE_INLINE": "1"}
    (said,) = from_a_file(replace(HEALTHY, witness=NcclWitness(env=more)))
    assert said.startswith("spark-2 (rank 0): NCCL was given NCCL_IB_USE_INLINE=1, which")
    assert "/etc/nccl.conf" in said
    assert from_a_file(replace(HEALTHY, grants=None, witness=NcclWitness(env=more))) == []
