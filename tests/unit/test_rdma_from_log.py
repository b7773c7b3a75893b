"""The transport from log files alone, rank by rank."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.rdma.from_log import Report, read
from spark_cluster.rdma.log_notes import notes
from spark_cluster.rdma.nccl_log import GidUse, gid_address, parse

DATA = Path(__file__).parent / "data" / "nccl"


def rank(
    number: int,
    *,
    network: str = "IB",
    host: str = "",
    prefix: str = "",
    version: str = "2.29.7",
    gid: str = "GID 3 (0/A64A8C0FFFF0000)",
    mtu: int = 5,
    pid: int = 284,
) -> str:
    """One rank's log of two, in the wording of NCCL 2.30 (src/transport/net_ib, src/init.cc)."""
    host = host or f"spark-{number + 2}"
    peer = 1 - number
    lines = [
        f"Bootstrap: Using enp1s0f1np1:192.168.100.{10 + number}<0>",
        "cudaDriverVersion 13000",
        f"NCCL version {version}+cuda13.0",
        f"comm 0x1 rank {number} nRanks 2 nNodes 2 localRanks 1 localRank 0 MNNVL 0",
    ]
    if network == "IB":
        lines += [
            "NET/IB : Using [0]rocep1s0f1:1/RoCE [RO]; OOB enp1s0f1np1:192.168.100.10<0>",
            f"NET/IB: NCCL Dev 0 IbDev 0 Port 1 qpn 576 mtu {mtu} {gid} fifoRkey=0x1 fifoLkey=0x1",
        ]
    lines += [
        f"Using network {network}",
        f"Channel 00/0 : {peer}[0] -> {number}[0] [receive] via NET/{network}/0",
        f"Channel 00/0 : {number}[0] -> {peer}[0] [send] via NET/{network}/0",
        "Connected all rings, use ring PXN 0 GDR 0",
    ]
    return "".join(f"{prefix}{host}:{pid}:301 [0] NCCL INFO {line}\n" for line in lines)


def communicator(number: int, network: str) -> str:
    """A further one of the same process, as PyTorch makes them: late, also after traffic."""
    lines = rank(number, network=network).splitlines(keepends=True)
    return "".join(line for line in lines if "Bootstrap" not in line and "cudaDriver" not in line)


def of(*texts: str) -> Report:
    return read({f"rank{number}.log": text for number, text in enumerate(texts)})


def sample(name: str) -> Report:
    return read({name: (DATA / name).read_text()})


def test_two_files_two_ranks() -> None:
    found = of(rank(1), rank(0))
    assert (found.kind, notes(found)) == ("rdma", ())
    assert [(r.witness.rank, r.process, r.kind, r.gdr) for r in found.ranks] == [
        (0, "spark-2:284", "rdma", False),
        (1, "spark-3:284", "rdma", False),
    ]
    assert found.ranks[0].witness.gids == (GidUse(3, "192.168.100.10", 4096, "rocep1s0f1"),)


H200 = DATA.parent / "h200"
DRIVER, OWN, OTHER = "ray-head.log", "ray-rank0.out", "ray-rank1.out"


def recorded(*names: str) -> Report:
    """Files of one start on two H200s, in this order."""
    return read({name: (H200 / name).read_text() for name in names})


@pytest.mark.parametrize(
    ("names", "channels"),
    [
        ((DRIVER,), [2, 7]),  # what Ray shows of them
        ((OWN, OTHER), [8, 8]),
        ((DRIVER, OWN, OTHER), [8, 8]),
        ((OWN, OTHER, DRIVER), [8, 8]),
        ((DRIVER, OWN), [8, 7]),
    ],
)
def test_rays_own_files_are_fuller_than_the_drivers_log(
    names: tuple[str, ...], channels: list[int]
) -> None:
    found = recorded(*names)
    assert found.kind == "socket"
    assert [rank.witness.rank for rank in found.ranks] == [0, 1]
    assert [rank.witness.channels_socket for rank in found.ranks] == channels


def test_a_line_that_ray_cut_in_two_counts_once() -> None:
    """Its second half, `/0 : 1[0] -> 0[0] [receive] via NET/Socket/0`, has no process."""
    for names in (
        ("ray-as-shipped-head.log", "ray-as-shipped-rank0.out"),
        ("ray-as-shipped-rank0.out", "ray-as-shipped-head.log"),
    ):
        first = recorded(*names).ranks[0]
        assert (first.witness.channels_socket, set(first.files)) == (8, set(names))


@pytest.mark.parametrize("end", ["", " \x1b[32m [repeated 2x across cluster]\x1b[0m"])
def test_a_line_that_ray_shortened_is_no_other_one(end: str) -> None:
    """As Ray cuts them, at any character, and as it shows one line for several."""
    own = rank(0)
    *_, channel, _ = own.splitlines()
    copy = (channel[:-1] if not end else channel) + end + "\n"
    assert "via NET/IB/" in copy
    for files in ({"own": own, "driver": copy}, {"driver": copy, "own": own}):
        (found,) = read(files).ranks
        assert found.witness.channels_ib == 2


def test_what_only_the_lesser_file_has_is_kept() -> None:
    whole = rank(0)
    end = "spark-2:284:301 [0] NCCL WARN Call to ibv_modify_qp failed with error 110\n"
    found = read({"own": whole, "driver": whole.splitlines(keepends=True)[0] + end, "1": rank(1)})
    assert found.kind == "failed"


def test_the_log_of_ray_in_a_worker_is_told_once_and_says_where_to_look() -> None:
    ray = (H200 / "ray-worker.log").read_text()
    found = read({DRIVER: (H200 / DRIVER).read_text(), "worker.log": ray, "worker-2.log": ray})
    (note,) = [note for note in notes(found) if "worker.log" in note or "worker-2.log" in note]
    assert note.startswith("worker.log, worker-2.log: Ray's own lines, which are never NCCL's.")
    assert "/tmp/ray/session_*/logs/worker-*.out" in note
    assert not any("holds no line" in note for note in notes(found))


def test_files_without_a_line_of_nccl_share_a_sentence() -> None:
    idle = {f"worker-{number}.out": ":job_id:01000000\n" for number in range(1, 9)}
    found = read({"0": rank(0), "1": rank(1), **idle})
    assert notes(found) == (
        "worker-1.out, worker-2.out, worker-3.out, worker-4.out and 4 more hold no line of NCCL's.",
    )


def test_one_file_of_ray_holds_both_ranks() -> None:
    one = rank(0, prefix="\x1b[36m(RayWorkerWrapper pid=284)\x1b[0m ")
    other = rank(1, prefix="\x1b[36m(RayWorkerWrapper pid=284, ip=192.168.100.11)\x1b[0m ")
    found = of(one + other)
    assert found.kind == "rdma"
    assert [r.witness.rank for r in found.ranks] == [0, 1]


def test_a_rank_in_two_files_is_one_rank() -> None:
    """Ray repeats the workers' lines in the driver's log: they count once."""
    found = of(rank(0) + rank(1, prefix="(RayWorkerWrapper pid=284, ip=192.168.100.11) "), rank(1))
    assert [(r.witness.rank, r.files, r.witness.channels_ib) for r in found.ranks] == [
        (0, ("rank0.log",), 2),
        (1, ("rank0.log", "rank1.log"), 2),
    ]


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        ([rank(0, network="Socket"), rank(1, network="Socket")], "socket"),
        ([rank(0), rank(1, network="Socket")], "partial"),
        ([rank(0) + communicator(0, "Socket"), rank(1) + communicator(1, "Socket")], "partial"),
        ([rank(0), rank(1) + "spark-3:284:301 [0] x.cc:1 NCCL WARN ncclSystemError: x"], "failed"),
        ([rank(0), "spark-3:284:301 [0] NCCL INFO NET/IB : Using [0]mlx5_0:1/RoCE"], "unknown"),
        (["no line of anybody's"], "unknown"),
    ],
)
def test_one_rank_that_differs_speaks_for_all(texts: list[str], kind: str) -> None:
    assert of(*texts).kind == kind


def test_a_missing_rank_and_a_silent_file_are_told() -> None:
    found = of(rank(0), "INFO vllm is up\n")
    assert found.kind == "unknown"
    assert notes(found) == (
        "rank1.log holds no line of NCCL's.",
        "The logs show 1 of 2 ranks; rank 1 may say otherwise: give its log, too.",
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            rank(0, version="2.28.9"),
            "NCCL 2.28.9+cuda13.0 can lose operations of its proxy on ARM and then hangs under",
        ),
        (rank(0, mtu=3), "RoCE's MTU is 1024 bytes and not 4096"),
        (
            rank(0, gid="GID 0 (80FE/46442FFEFF47BB4E)"),
            "GID 0 is a link-local address (fe80::4ebb:47ff:fe2f:4446)",
        ),
        (
            rank(0) + "spark-2:284:301 [0] NCCL INFO NCCL_IB_GID_INDEX set by environment to 3.\n",
            "NCCL_IB_GID_INDEX is pinned to 3",
        ),
        (
            rank(0) + "spark-2:284:301 [0] NCCL WARN NET/IB : rocep1s0f1:1 GID table changed\n",
            "the GID table changed while the job ran",
        ),
    ],
)
def test_what_is_worth_knowing_beside_the_verdict(text: str, words: str) -> None:
    found = of(text, rank(1))
    assert found.kind == "rdma"
    assert words in "\n".join(notes(found))


def test_a_known_bad_release_on_one_host_is_not_told() -> None:
    text = "vm:1:1 [0] NCCL INFO NCCL version 2.28.9+cuda13.0\n"
    text += "vm:1:1 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[1] via SHM/direct/direct\n"
    assert not any("2.28.9" in note for note in notes(of(text)))


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("ib-roce-two-hosts-2.19.log", "rdma", ""),
        ("ib-rxe-2.20.log", "unknown", "not which network it chose"),
        ("nccl-2.28.9-socket-forced.rank0.log", "socket", "1 of 2 ranks"),
        ("nccl-2.28.9-socket-silent-fallback.rank0.log", "socket", "fell back to sockets"),
        ("nccl-2.28.9-ib-forced-no-device.rank0.log", "failed", "no network could be initialised"),
    ],
)
def test_real_logs(name: str, kind: str, words: str) -> None:
    found = sample(name)
    assert found.kind == kind
    assert words in "\n".join(notes(found))


def test_the_largest_communicator_gives_the_rank() -> None:
    """vLLM makes one of a single rank beside that of the tensor-parallel group."""
    text = rank(1) + "spark-3:284:301 [0] NCCL INFO comm 0x2 rank 0 nranks 1 cudaDev 0\n"
    (found,) = of(text).ranks
    assert (found.witness.rank, found.witness.nranks) == (1, 2)


@pytest.mark.parametrize(
    ("prefix", "interface", "address"),
    [
        ("0", "1064A8C0FFFF0000", "192.168.100.16"),
        ("80FE", "46442FFEFF47BB4E", "fe80::4ebb:47ff:fe2f:4446"),
        ("0", "0", "::"),
    ],
)
def test_gids_are_numbers_in_little_endian(prefix: str, interface: str, address: str) -> None:
    assert gid_address(prefix, interface) == address


def test_the_line_of_older_releases_has_more_between() -> None:
    """NCCL 2.19 to 2.22 print the ECE of the connection in the same line."""
    line = (
        "n:1:2 [0] NCCL INFO NET/IB: NCCL Dev 0 IbDev 0 Port 1 qpn 34 mtu 3 query_ece={supported="
        "0, vendor_id=0x0, options=0x0, comp_mask=0x0} GID 1 (0/B64A8C0FFFF0000) fifoRkey=0x4f"
    )
    assert parse(line).gids == (GidUse(1, "192.168.100.11", 1024),)


# A log that outlived restarts of its container


@pytest.mark.parametrize("pid", [284, 901])
def test_of_several_starts_the_last_counts(pid: int) -> None:
    """The same pid again, as in a container that starts one program, or another one."""
    earlier = "".join(rank(number, network="Socket") for number in (0, 1))
    found = of(earlier * 2 + rank(0, pid=pid) + rank(1, pid=pid))
    assert [(r.process, r.kind) for r in found.ranks] == [
        (f"spark-2:{pid}", "rdma"),
        (f"spark-3:{pid}", "rdma"),
    ]
    assert (found.kind, notes(found)) == ("rdma", ("2 earlier starts in rank0.log are left out.",))


def test_each_file_is_cut_by_itself() -> None:
    found = of(rank(0, network="Socket") + rank(0), rank(1))
    assert found.kind == "rdma"
    assert notes(found) == ("1 earlier start in rank0.log is left out.",)
    assert found.as_dict(notes(found))["notes"] == ["1 earlier start in rank0.log is left out."]


@pytest.mark.parametrize("pid", [284, 901])
def test_how_an_earlier_start_failed_says_nothing_of_the_last(pid: int) -> None:
    """It failed before it had a rank; its traceback has no process."""
    failed = (DATA / "nccl-2.28.9-ib-forced-no-device.rank0.log").read_text()
    failed = failed.replace("vm:864:864", "spark-2:284:284").replace("2.28.9", "2.29.7")
    last = rank(0, pid=pid).splitlines(keepends=True)
    last = ["INFO vLLM is using nccl==2.29.7\n", *(s for s in last if "NCCL version" not in s)]
    found = of(failed + "".join(last), rank(1))
    assert (found.kind, notes(found)) == ("rdma", ("1 earlier start in rank0.log is left out.",))
    assert [r.witness.version for r in found.ranks] == ["2.29.7", "2.29.7"]
    found = of(rank(0) + rank(0, pid=pid) + "[rank0]: ncclSystemError: a call failed\n", rank(1))
    assert found.kind == "failed"
    found = of(rank(0) + failed, rank(1))
    assert found.kind == "failed"
    assert found.ranks[-1].witness.networks == ()


def test_a_start_keeps_what_it_was_given_before_its_first_mark() -> None:
    given = "spark-2:284:284 [0] NCCL INFO NCCL_SOCKET_IFNAME set by environment to enp1s0f1np1\n"
    found = of(rank(0, network="Socket") + given + rank(0), rank(1))
    assert found.ranks[0].witness.env == {"NCCL_SOCKET_IFNAME": "enp1s0f1np1"}


def test_communicators_of_one_start_stay_together() -> None:
    """Also a late one, and one that NCCL bootstraps over the fabric (NCCL_OOB_NET_ENABLE)."""
    over = "spark-2:284:284 [0] NCCL INFO Bootstrap: Using rocep1s0f1:1\n"
    found = of(rank(0) + over + communicator(0, "IB") + over, rank(1))
    assert (found.kind, notes(found)) == ("rdma", ())
    assert found.ranks[0].witness.channels_ib == 4


def test_ranks_that_ran_at_once_are_no_restarts() -> None:
    """Two replicas of a model: both have a rank 0; their lines are mingled, or of two hosts."""
    one, other = rank(0, network="Socket").splitlines(), rank(0, pid=901).splitlines()
    mingled = "\n".join(line for both in zip(one, other, strict=False) for line in both)
    found = of(mingled, rank(1))
    assert [r.process for r in found.ranks] == ["spark-2:284", "spark-2:901", "spark-3:284"]
    assert found.kind == "partial"
    found = of(rank(0, network="Socket", host="spark-6") + rank(0), rank(1))
    assert [r.process for r in found.ranks] == ["spark-2:284", "spark-6:284", "spark-3:284"]
    assert found.kind == "partial"


def test_two_copies_of_nccl_in_one_process_are_no_restarts() -> None:
    """PyTorch's own and the one that VLLM_NCCL_SO_PATH names: each says once what it is."""
    found = of(rank(0, network="Socket", version="2.28.9") + rank(0), rank(1))
    assert found.kind == "partial"
    assert not any("earlier" in note for note in notes(found))


def test_processes_without_a_rank_are_not_taken_for_restarts() -> None:
    """Without NCCL's INIT lines nobody knows which rank a process is."""
    text = "".join(f"vm:{pid}:1 [0] NCCL INFO Using network {n}\n" for pid, n in NETWORKS)
    assert of(text).kind == "partial"


NETWORKS = ((11, "Socket"), (12, "IB"))

LINES = [line for text in (rank(0), rank(1, network="Socket"), "x\n") for line in text.splitlines()]


@given(st.lists(st.lists(st.one_of(st.text(), st.sampled_from(LINES))), max_size=3))
def test_any_files_are_taken(files: list[list[str]]) -> None:
    found = of(*("\n".join(lines) for lines in files))
    assert found.kind != "rdma" or all(r.kind == "rdma" for r in found.ranks)
    assert bool(found.ranks) or found.kind == "unknown"
    assert len({r.process for r in found.ranks}) == len(found.ranks)
