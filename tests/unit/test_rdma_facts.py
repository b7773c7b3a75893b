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
from spark_cluster.facts.engine import ENGINE, EngineFact
from spark_cluster.facts.grants import GRANTS
from spark_cluster.facts.rdma import NCCL
from spark_cluster.rdma.causes import Grants

from . import world

CONTEXT = ProbeContext(world.inventory().hosts["spark-2"], world.inventory())

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
    assert GRANTS.parse(GIVEN) == {
        "vllm-head": Grants(
            "vllm-head",
            ("rocep1s0f1", "roceP2p1s0f1"),
            None,
            True,
            {"NCCL_IB_HCA": "=rocep1s0f1:1", "NCCL_DEBUG": "INFO"},
        ),
        "other": Grants("other", (), 8 << 20, False),
    }


@given(st.lists(st.one_of(st.text(), st.sampled_from(GIVEN.splitlines()))))
def test_grants_take_any_text(lines: list[str]) -> None:
    for name, found in GRANTS.parse("\n".join(lines)).items():
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
            text = run(GRANTS.script(CONTEXT), tmp_path)
        finally:
            process.kill()
    found = GRANTS.parse(text)["mine"]
    assert found.env == {"NCCL_IB_HCA": "=a b"}
    assert "secret" not in text
    limits = Path("/proc/self/limits").read_text()
    assert (found.memlock is None) == ("Max locked memory         unlimited" in limits)


def test_the_shell_without_docker(tmp_path: Path) -> None:
    program(tmp_path, "docker", "exit 1")
    for fact in (GRANTS, ENGINE, NCCL):
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


def test_a_workers_lines_are_found_in_rays_files(tmp_path: Path) -> None:
    """`docker logs` of a worker holds Ray's own lines only: the rank's are in its session."""
    program(
        tmp_path,
        "docker",
        """
case $1 in
  ps) echo abc;;
  logs) echo 'spark-3 NCCL INFO Using network Socket (pid=1, ip=192.168.100.10)';;
  inspect) echo 424242;;
  image) echo null;;
esac
""",
    )
    folder = tmp_path / "424242/root/tmp/ray/session_2026/logs"
    folder.mkdir(parents=True)
    (folder / "worker-1-01000000-284.out").write_text("x NCCL INFO Using network IB\nother\n")
    script = NCCL.script(CONTEXT).replace("/proc/", f"{tmp_path}/")
    assert NCCL.parse(run(script, tmp_path)).network == "IB"


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
    script = NCCL.script(CONTEXT).replace("/proc/", f"{tmp_path}/")
    assert NCCL.parse(run(script, tmp_path)).network == "IB"
    said = subprocess.run([tmp_path / "docker", "logs"], capture_output=True, text=True, check=True)
    folder.mkdir(parents=True)
    (folder / "worker-1-01000000-284.out").write_text(said.stdout)
    program(
        tmp_path,
        "docker",
        "case $1 in ps) echo abc;; inspect) echo 424242;; image) echo null;; esac",
    )
    assert NCCL.parse(run(script, tmp_path)).network == "IB"
