"""What containers have of what RDMA needs, and what the engine's server says: shell and parser."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.facts.base import ProbeContext
from spark_cluster.facts.container_access import CONTAINER_ACCESS
from spark_cluster.facts.engine import ENGINE, EngineFact
from spark_cluster.facts.rdma import NCCL
from spark_cluster.rdma.causes import ContainerAccess
from spark_cluster.rdma.nccl_log import NcclWitness

from . import world

CONTEXT = ProbeContext(world.inventory().hosts["spark-2"], world.inventory())

GPU_LOGS = world.DATA / "h200"


def read_sample(name: str) -> str:
    """A recorded log of vLLM 0.23 on two H200s, shortened."""
    return (GPU_LOGS / name).read_text(encoding="utf-8")


GIVEN = """\
@@container /vllm-head
device rocep1s0f1
device roceP2p1s0f1
Max locked memory         unlimited            unlimited            bytes
CapEff:\t00000000a80465fb
env NCCL_IB_HCA==rocep1s0f1:1
env NCCL_DEBUG=INFO
@@container /other
Max locked memory         8388608              8388608              bytes
CapEff:\t00000000a80425fb
"""


def test_grants() -> None:
    assert CONTAINER_ACCESS.parse(GIVEN) == {
        "vllm-head": ContainerAccess(
            "vllm-head",
            ("rocep1s0f1", "roceP2p1s0f1"),
            None,
            True,
            {"NCCL_IB_HCA": "=rocep1s0f1:1", "NCCL_DEBUG": "INFO"},
        ),
        "other": ContainerAccess("other", (), 8 << 20, False),
    }


@given(st.lists(st.one_of(st.text(), st.sampled_from(GIVEN.splitlines()))))
def test_grants_take_any_text(lines: list[str]) -> None:
    for name, found in CONTAINER_ACCESS.parse("\n".join(lines)).items():
        assert found.container == name
        assert found.memlock is None or found.memlock >= 0


def program(folder: Path, name: str, text: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def run(script: str, folder: Path, **more: str) -> str:
    ran = subprocess.run(
        ["sh", "-eu"],
        input=script,
        env={"PATH": f"{folder}:{os.environ['PATH']}", **more},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return ran.stdout


def test_the_shell_reads_the_containers_first_process(tmp_path: Path) -> None:
    """With a docker that names a process of ours: its limits, capabilities and variables."""
    with subprocess.Popen(
        ["sleep", "60"], env={"NCCL_IB_HCA": "=a b", "HF_TOKEN": "secret"}, stdin=subprocess.DEVNULL
    ) as process:
        try:
            program(
                tmp_path,
                "docker",
                f'case $1 in ps) echo a;; image) echo null;; *) echo "{process.pid} /mine";; esac',
            )
            text = run(CONTAINER_ACCESS.script(CONTEXT), tmp_path)
        finally:
            process.kill()
    found = CONTAINER_ACCESS.parse(text)["mine"]
    assert found.env == {"NCCL_IB_HCA": "=a b"}
    assert "secret" not in text
    limits = Path("/proc/self/limits").read_text()
    assert (found.memlock is None) == ("Max locked memory         unlimited" in limits)


def test_the_shell_without_docker(tmp_path: Path) -> None:
    program(tmp_path, "docker", "exit 1")
    for fact in (CONTAINER_ACCESS, ENGINE, NCCL):
        assert run(fact.script(CONTEXT), tmp_path).strip() == ""


def test_the_shell_asks_the_port_of_the_label(tmp_path: Path) -> None:
    """A curl that answers as the server would; the buckets of histograms stay on the host."""
    labels = '{"spark-cluster.role":"head","spark-cluster.port":"8000"}'
    program(tmp_path, "docker", f"case $1 in ps) echo abc;; *) echo '{labels}';; esac\n")
    program(
        tmp_path,
        "curl",
        """
for word; do last=$word; done
case $last in
  */health) ;;
  */metrics) cat <<END
# HELP vllm:generation_tokens_total x
vllm:num_requests_running{engine="0"} 2.0
vllm:generation_tokens_total{engine="0"} 72.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="1"} 7.0
END
esac
echo; echo "@@http 200 0.01 s "; echo "$last" >&2
""",
    )
    text = run(ENGINE.script(CONTEXT), tmp_path)
    assert "_bucket" not in text
    found = ENGINE.parse(text)
    assert found.healthy is True
    assert (found.metrics.running, found.metrics.generation_tokens) == (2.0, 72.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", EngineFact()),
        ("\n@@http 200 0.1 s \n", EngineFact()),
    ],
)
def test_no_server_is_not_an_unhealthy_one(text: str, expected: EngineFact) -> None:
    assert ENGINE.parse(text) == expected


def test_a_server_that_is_gone_says_why() -> None:
    refused = "\n@@http 000 0.0 s Connection refused\n"
    found = ENGINE.parse(refused * 2)
    assert found.healthy is False
    assert found.metrics.error == "Connection refused"


RAY_DOCKER = """
case $1 in
  ps) echo abc;;
  logs) cat "$RAY_LOG";;
  inspect) echo 424242;;
  image) echo null;;
esac
"""


class RayHost:
    """A container with a session of Ray's, as files below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "424242/root"
        self.logs = self.root / "tmp/ray/session_2026-11-30_16-26-03_336362_1/logs"
        self.logs.mkdir(parents=True)
        self.driver = folder / "driver.log"
        self.driver.write_text("")
        program(folder, "docker", RAY_DOCKER)

    def worker(self, pid: int, text: str, *, job: int, lives: str = "", named: bool = True) -> None:
        """A worker's file; `lives` is the process's command line, `named` whether its job was known
        when it was started."""
        number = job.to_bytes(4, "little").hex()
        name = f"worker-{pid:056x}-{number if named else 'ffffffff'}-{pid}.out"
        (self.logs / name).write_text(f":job_id:{number}\n{text}")
        if lives:
            (self.root / f"proc/{pid}").mkdir(parents=True)
            (self.root / f"proc/{pid}/cmdline").write_text(lives + "\0")

    def read(self) -> NcclWitness:
        script = NCCL.script(CONTEXT).replace("_root=/proc/", f"_root={self.folder}/")
        return NCCL.parse(run(script, self.folder, RAY_LOG=str(self.driver)))


def nccl(host: str, pid: int, network: str, channels: int = 2) -> str:
    lines = [f"Using network {network}"]
    lines += [
        f"Channel {number:02}/0 : 0[0] -> 1[0] [send] via NET/{network}/0"
        for number in range(channels)
    ]
    return "".join(f"{host}:{pid}:{pid} [0] NCCL INFO {line}\n" for line in lines)


RANK = "ray::RayWorkerProc.run"


@pytest.fixture
def ray_host(tmp_path: Path) -> RayHost:
    return RayHost(tmp_path)


def test_a_workers_lines_are_found_in_rays_files(ray_host: RayHost) -> None:
    """`docker logs` of a worker holds Ray's own lines only: the rank's are in its session."""
    ray_host.driver.write_text(
        "spark-3 NCCL INFO Using network Socket (pid=1, ip=192.168.100.10)\n"
    )
    ray_host.worker(284, nccl("spark-2", 284, "IB"), job=1, lives=RANK)
    assert ray_host.read().network == "IB"


def test_rank_0_is_read_from_its_own_file_and_not_from_the_drivers_log(ray_host: RayHost) -> None:
    """As recorded: Ray shows 2 of the 8 channels in the driver's log."""
    ray_host.driver.write_text(read_sample("ray-head.log"))
    of_driver = ray_host.read()
    ray_host.worker(2852, read_sample("ray-rank0.out"), job=1, lives=RANK)
    of_file = ray_host.read()
    assert (of_driver.rank, of_driver.channels_socket) == (0, 2)
    assert (of_file.rank, of_file.channels_socket) == (0, 8)


def test_an_earlier_servers_ranks_and_idle_workers_do_not_count(ray_host: RayHost) -> None:
    ray_host.worker(300, nccl("spark-2", 300, "Socket", 4), job=1)
    ray_host.worker(310, "nothing of NCCL's, though it lives\n", job=2, lives="ray::IDLE")
    ray_host.worker(320, nccl("spark-2", 320, "IB", 3), job=2, lives=RANK)
    found = ray_host.read()
    assert (found.networks, found.channels_ib, found.channels_socket) == (("IB",), 3, 0)


def test_ranks_that_live_are_the_servers_whatever_else_uses_ray(ray_host: RayHost) -> None:
    """Somebody's own job in the same session came later, and is over."""
    ray_host.worker(300, nccl("spark-2", 300, "IB", 3), job=1, lives=RANK)
    ray_host.worker(320, nccl("spark-2", 320, "Socket"), job=2)
    assert ray_host.read().networks == ("IB",)


def test_a_dead_rank_of_this_server_still_tells(ray_host: RayHost) -> None:
    """The 256th server's number comes after the 2nd's, although its text does not."""
    ray_host.worker(300, nccl("spark-2", 300, "Socket"), job=2)
    ray_host.worker(320, nccl("spark-2", 320, "IB"), job=256, named=False)
    assert ray_host.read().networks == ("IB",)


def test_a_new_server_whose_ranks_are_silent_has_no_witness(ray_host: RayHost) -> None:
    """The head knows of it by its driver; the last one's ranks and its lines are over."""
    ray_host.worker(300, nccl("spark-2", 300, "Socket"), job=1)
    (ray_host.logs / f"python-core-driver-02000000{'f' * 48}_3000.log").touch()
    ray_host.driver.write_text(
        "spark-cluster: vllm serve begins\n"
        + nccl("spark-2", 300, "Socket")
        + "spark-cluster: vllm serve exited with 0\nspark-cluster: vllm serve begins\n"
    )
    assert not ray_host.read().says_anything


def test_a_number_that_another_process_has_now_is_no_rank(ray_host: RayHost) -> None:
    ray_host.worker(300, nccl("spark-2", 300, "Socket"), job=1, lives="/usr/bin/python3 -m other")
    ray_host.worker(320, nccl("spark-2", 320, "IB"), job=2)
    assert ray_host.read().networks == ("IB",)


def test_lines_per_message_do_not_push_the_start_out(tmp_path: Path) -> None:
    """With TUNING or COLL among its subsystems NCCL says something of each collective."""
    program(
        tmp_path,
        "docker",
        """
case $1 in
  ps) echo abc;;
  logs) echo 'n:1:1 [0] NCCL INFO Using network IB'
    i=0; while [ $((i += 1)) -le 500 ]; do
      echo "n:1:1 [0] NCCL INFO AllReduce: $i Bytes -> Algo RING proto LL channel{Lo..Hi}={0..1}"
      echo "n:1:1 [0] NCCL INFO AllReduce: opCount $i sendbuff 0x1 recvbuff 0x1 count 8 datatype 9"
    done;;
  inspect) echo 424242;;
  image) echo null;;
esac
""",
    )
    folder = tmp_path / "424242/root/tmp/ray/session_2026/logs"
    script = NCCL.script(CONTEXT).replace("_root=/proc/", f"_root={tmp_path}/")
    assert NCCL.parse(run(script, tmp_path)).network == "IB"
    said = subprocess.run([tmp_path / "docker", "logs"], capture_output=True, text=True, check=True)
    folder.mkdir(parents=True)
    (folder / "worker-1-01000000-284.out").write_text(f":job_id:01000000\n{said.stdout}")
    program(
        tmp_path,
        "docker",
        "case $1 in ps) echo abc;; inspect) echo 424242;; image) echo null;; esac",
    )
    assert NCCL.parse(run(script, tmp_path)).network == "IB"
