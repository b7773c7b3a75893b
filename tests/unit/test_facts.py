"""Facts of memory, Docker, the GPU, storage and server; and every parser on rubbish."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spark_cluster.facts.base import Fact
from spark_cluster.facts.docker import CONTAINERS, DOCKER, IMAGE, log_of_this_start
from spark_cluster.facts.gpu import GPU, GpuProcess
from spark_cluster.facts.gpu_state import GPU_STATE
from spark_cluster.facts.memory import MEMORY, SWAP
from spark_cluster.facts.serving import SERVER
from spark_cluster.facts.storage import DISK, FILES, MODEL, PORTS
from spark_cluster.facts.table import FACTS

from . import world
from .cases import write
from .shell import sh
from .world import context, recorded

KIB = 1024


# memory, swap


def test_memory_of_proc_meminfo() -> None:
    fact = MEMORY.parse(world.healthy("memory", "spark-2"))
    assert fact.total == 125513676 * KIB
    assert fact.available == 121563244 * KIB
    assert fact.droppable == (403456 + 76052 - 26348 - 154880) * KIB


def test_memory_is_never_negative() -> None:
    assert MEMORY.parse("Cached: 5 kB\nShmem: 9 kB\n").droppable == 0


def test_swap_of_proc_swaps_and_fstab() -> None:
    fact = SWAP.parse(recorded("swap.txt"))
    assert fact.active == {"/swap.img": 8388604 * KIB, "/dev/nvme0n1p3": 2097148 * KIB}
    assert fact.boot == (
        "/swap.img\tnone\tswap\tsw\t0\t0",
        "UUID=1b2c none swap sw 0 0",
    )


def test_no_swap_at_all() -> None:
    none = SWAP.parse("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\n")
    assert (none.active, none.boot, none.read) == ({}, (), True)
    assert not SWAP.parse("").read


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("/swap.img none swap sw 0 0", True),
        ("/swap.img\tnone\tswap\tdefaults\t0\t0", True),
        ("UUID=8a1c-22 none swap sw,pri=5 0 0", True),
        ("  /swap.img none swap sw 0 0", True),
        ("#/swap.img none swap sw 0 0", False),
        ("# off by spark-cluster: /swap.img none swap sw 0 0", False),
        ("UUID=77 / ext4 errors=remount-ro 0 1", False),
        ("/dev/sda1 /swap ext4 defaults 0 2", False),
    ],
)
def test_the_swap_lines_of_fstab(tmp_path: Path, line: str, found: bool) -> None:
    fstab = tmp_path / "fstab"
    fstab.write_text(f"# /etc/fstab\n{line}\n")
    text = sh(SWAP.script(context()).replace("/etc/fstab", str(fstab)))
    assert SWAP.parse(text).boot == ((line.strip(),) if found else ())


# docker


@pytest.mark.parametrize(
    ("text", "version", "gpu", "in_group"),
    [
        ("info 28.5.1 io.containerd.runc.v2,nvidia,runc,\ngroups a docker", "28.5.1", "runtime", 1),
        ("info 29.2.1 runc,\ncdi /etc/cdi/nvidia.yaml\ngroups a", "29.2.1", "cdi", 0),
        ("info 28.5.1 runc,\ncdi /etc/cdi/nvidia.yaml\ngroups a", "28.5.1", "", 0),
        ("info 27.0.3 runc,\nhook /usr/bin/x\ngroups root", "27.0.3", "hook", 1),
        ("info 27.0.3 runc,\ngroups a dockers", "27.0.3", "", 0),
    ],
)
def test_docker_info(text: str, version: str, gpu: str, in_group: int) -> None:
    fact = DOCKER.parse(text)
    assert (fact.version, fact.gpu, fact.in_group) == (version, gpu, bool(in_group))
    assert fact.error == ""


_CDI = "cdi /etc/cdi/nvidia.yaml\n"
_MODE = 'toolkit [nvidia-container-cli]\ntoolkit [nvidia-container-runtime]\ntoolkit mode = "{}"\n'
_SKIP = "toolkit [nvidia-container-runtime-hook]\ntoolkit skip-mode-detection = true\n"


@pytest.mark.parametrize(
    ("version", "lines", "gpu"),
    [
        ("28.5.1", _CDI + _MODE.format("auto"), "runtime"),
        ("28.5.1", _CDI + _MODE.format("legacy"), "runtime"),
        ("28.5.1", _CDI + _MODE.format("cdi"), ""),
        ("29.1.5", _CDI + _MODE.format("cdi"), ""),
        ("29.2.1", _CDI + _MODE.format("cdi"), "cdi"),
        ("29.2.1", _MODE.format("cdi"), ""),
        ("28.5.1", _CDI + _MODE.format("cdi") + _SKIP, "runtime"),
        # The mode of something else.
        ("28.5.1", 'toolkit [nvidia-container-cli]\ntoolkit mode = "cdi"\n', "runtime"),
        ("28.5.1", "toolkit mode = \ntoolkit [\ntoolkit [nvidia\n", "runtime"),
    ],
)
def test_the_toolkits_mode_decides_whether_gpus_works(version: str, lines: str, gpu: str) -> None:
    fact = DOCKER.parse(f"info {version} io.containerd.runc.v2,nvidia,runc,\n{lines}groups a\n")
    assert fact.gpu == gpu
    assert bool(fact.no_gpu) != bool(gpu)


def test_docker_reads_the_toolkits_mode_where_it_stands(tmp_path: Path) -> None:
    config = write(
        tmp_path / "config.toml",
        'disable-require = false\n[nvidia-container-runtime]\n#mode = "csv"\nmode = "cdi"\n'
        '[nvidia-container-runtime.modes.cdi]\ndefault-kind = "nvidia.com/gpu"\n',
    )
    line = next(line for line in DOCKER.script(context()).split("\n") if "skip-mode" in line)
    told = sh(line.replace("/etc/nvidia-container-runtime/config.toml", str(config)))
    fact = DOCKER.parse(f"info 28.5.1 nvidia,\n{told}")
    assert "nvidia-container-runtime.mode is cdi" in fact.no_gpu


def test_docker_down_says_what_docker_says() -> None:
    fact = DOCKER.parse(recorded("docker-down.txt"))
    assert fact.version == ""
    assert "Cannot connect to the Docker daemon" in fact.error
    assert DOCKER.parse("").error


def test_containers_of_inspect_and_top() -> None:
    fact = CONTAINERS.parse(recorded("containers.txt"))
    assert fact.error == ""
    head, worker = fact.containers
    assert (head.name, head.state, head.exit_code) == ("vllm-head", "running", 0)
    assert head.started == "2026-11-21T03:15:42.123456789Z"
    assert head.label("recipe") == "qwen3-vl-235b"
    assert head.label("nothing") == ""
    assert head.processes == (
        (4211, "/usr/bin/python3 /usr/local/bin/ray start --head --port=6379 --block"),
        (4877, "/usr/bin/python3 /usr/local/bin/vllm serve org/model --port 8000"),
    )
    assert head.runs("vllm serve")
    assert not head.runs("vllm bench")
    assert (worker.name, worker.running, worker.exit_code) == ("old", False, 137)
    assert worker.processes == ()
    assert fact.named("old") is worker
    assert fact.named("other") is None


def test_containers_when_docker_does_not_answer() -> None:
    assert CONTAINERS.parse("@@error Cannot connect to the Docker daemon").error
    assert CONTAINERS.parse("error").error


def test_image() -> None:
    fact = IMAGE.parse("sha256:1d5e nvcr.io/nvidia/vllm@sha256:aa nvcr.io/x@sha256:bb\n")
    assert fact.id == "sha256:1d5e"
    assert fact.digests == ("nvcr.io/nvidia/vllm@sha256:aa", "nvcr.io/x@sha256:bb")
    assert IMAGE.parse("sha256:1d5e \n").digests == ()
    assert IMAGE.parse("Error: No such image").id == ""


# gpu


def test_gpu_of_nvidia_smi() -> None:
    fact = GPU.parse(
        "gpu,NVIDIA GB10, 580.95.05\napp,4901, /usr/bin/python3\napp,5120, [Not Found]\n"
    )
    assert (fact.names, fact.driver, fact.error) == (("NVIDIA GB10",), "580.95.05", "")
    assert fact.processes == (GpuProcess(4901, "/usr/bin/python3"), GpuProcess(5120, "[Not Found]"))


@pytest.mark.parametrize(
    "text",
    [
        "gpu,NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n",
        "sh: 3: nvidia-smi: not found\n",
        "gpu,No devices were found\n",
    ],
)
def test_no_gpu_says_why(text: str) -> None:
    fact = GPU.parse(text)
    assert fact.names == ()
    assert fact.error in text
    assert fact.error


# storage


def test_model_files() -> None:
    text = "path /m\nrevision abc\nweight 10\nweight 5\nweight x\nmissing b.safetensors\n"
    fact = MODEL.parse(text + "partial 12ab.incomplete\n")
    assert (fact.revision, fact.weights, fact.weight_bytes) == ("abc", 2, 15)
    assert fact.missing == ("b.safetensors",)
    assert fact.partial == ("12ab.incomplete",)
    assert MODEL.parse("path /m\nrevision \n").revision == ""


def test_the_model_script_reads_a_real_cache(tmp_path: Path) -> None:
    folder = tmp_path / ".cache/huggingface/hub/models--QuantTrio--Qwen3-VL-235B-A22B-Instruct-AWQ"
    snapshot = folder / "snapshots" / "abc123"
    for path in (folder / "refs", folder / "blobs", snapshot):
        path.mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc123")
    (folder / "blobs" / "77.incomplete").write_text("x")
    (folder / "blobs" / "w1").write_text("12345")
    (snapshot / "config.json").write_text("{}")
    (snapshot / "one.safetensors").symlink_to("../../blobs/w1")
    (snapshot / "two.safetensors").symlink_to("../../blobs/gone")
    weights = {"a": "one.safetensors", "b": "two.safetensors", "c": "one.safetensors"}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    script = MODEL.script(context(deployed=True))
    fact = MODEL.parse(sh(f"SPARK_HOME='{tmp_path}'\n{script}"))
    assert fact.revision == "abc123"
    assert fact.missing == ("two.safetensors",)
    assert fact.partial == ("77.incomplete",)
    assert (fact.weights, fact.weight_bytes) == (1, 5)
    assert fact.path == str(folder)
    nothing = MODEL.parse(sh(f"SPARK_HOME='{tmp_path}/none'\n{script}"))
    assert (nothing.revision, nothing.missing, nothing.weights) == ("", (), 0)


def test_disk_of_df() -> None:
    text = "       Avail Mounted on\n786087071360 /\n    12345678 /home/my disk\n"
    assert DISK.parse(text).free == {"/": 786087071360, "/home/my disk": 12345678}
    assert DISK.parse("df: no file systems processed\n").free == {}


def test_ports_of_ss() -> None:
    found = PORTS.parse(recorded("ss.txt")).listening
    assert set(found) == {22, 53, 6379, 8000, 8265}
    assert found[8000] == 'users:(("vllm",pid=4877,fd=12))'
    assert found[6379] == 'users:(("gcs_server",pid=99,fd=3))'
    assert found[53].startswith('users:(("systemd-resolve"')
    assert found[8265] == ""


def test_files() -> None:
    assert FILES.parse("/a\n/b\n").present == {"/a", "/b"}


# server


def test_server_log_and_health() -> None:
    up = SERVER.parse(world.SERVER_UP)
    assert up.healthy
    assert up.progress.ready
    down = SERVER.parse(world.healthy("server", "spark-2"))
    assert not down.healthy
    assert not down.progress.ready


def test_what_an_earlier_start_said_is_not_read(tmp_path: Path) -> None:
    """`docker start` goes on with the log of before."""
    docker = write(
        tmp_path / "docker",
        """#!/bin/sh
case "$1" in
  inspect) [ "$4" = vllm-head ] && echo 2026-11-21T03:15:42.123456789Z ;;
  logs)
    case "$*" in
      *"--since 2026-11-21T03:15:42.123456789Z "*) ;;
      *) echo "spark-cluster: vllm serve exited with 1" ;;
    esac
    echo "Application startup complete." ;;
esac
""",
    )
    docker.chmod(0o755)
    script = f"PATH={tmp_path}:$PATH\n"
    found = SERVER.parse(sh(script + SERVER.script(world.context(deployed=True))))
    assert found.progress.failure is None
    assert found.progress.ready
    assert sh(f"{script}{log_of_this_start('gone', tail=9)} || true") == ""


def test_a_server_log_without_a_last_newline() -> None:
    text = "Application startup complete.\n@@health\n\n@@http 200 0.002 s \n"
    assert SERVER.parse(text).healthy


# Rubbish


TEXT = st.text(max_size=120) | st.text(alphabet="c p{}[]\"':,/0129²٣\t\n@=.-gpapsUP", max_size=120)


@pytest.mark.parametrize("fact", FACTS.values(), ids=lambda fact: fact.name)
def test_a_parser_never_raises(fact: Fact[object]) -> None:
    @settings(max_examples=60, deadline=None, database=None)
    @given(TEXT)
    @example("")
    @example("\n")
    @example("\0")
    @example("c n running ² t {}")
    @example("c n running 0 t " + "[" * 5000)
    @example("c n running 0 t {}\np ² x\np " + "9" * 5000)
    @example("app,²,x\ngpu,a,b\napp," + "9" * 5000 + ",x")
    @example("LISTEN 0 0 a:² b\nLISTEN 0 0 a:" + "9" * 5000 + " b")
    @example("Avail\n² /\n" + "9" * 5000 + " /")
    @example("Filename\na b ²\na b " + "9" * 5000)
    @example("MemTotal: ² kB\nMemFree: " + "9" * 5000)
    @example("weight ²\nweight " + "9" * 5000)
    @example("a b ² yes\na b " + "9" * 5000 + " yes")
    def parse(text: str) -> None:
        fact.parse(text)

    parse()


@pytest.mark.parametrize("fact", FACTS.values(), ids=lambda fact: fact.name)
def test_a_parser_survives_a_cut_or_shouting_host(fact: Fact[object]) -> None:
    """Every prefix of a healthy answer, and the answer with complaints between its lines."""
    whole = world.healthy(fact.name, "spark-2")
    for end in range(0, len(whole), max(1, len(whole) // 40)):
        fact.parse(whole[:end])
    fact.parse(whole.replace("\n", "\nsh: 1: something: not found\n"))


# Readings that cannot be


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("2400, 3003, 30.5, 97, 61, 0x0", (2400.0, 30.5, 97.0, 61.0)),
        ("2400, 3003, 30.5, 9999999, 61, 0x0", (2400.0, 30.5, None, 61.0)),
        ("2400, 3003, 30.5, 101, 999, 0x0", (2400.0, 30.5, None, None)),
        ("3003, 30.5, 97, 61, 0x0", (None, None, None, None)),
        ("2400, 3003, 30.5, 97, 61, 0x0, 7", (None, None, None, None)),
    ],
)
def test_a_gpu_s_row_is_whole_and_in_range_or_unknown(
    row: str, expected: tuple[float | None, ...]
) -> None:
    found = GPU_STATE.parse(f"state,{row}\n")
    assert (found.sm_mhz, found.watts, found.utilization, found.celsius) == expected


@pytest.mark.parametrize(
    "name", ["\nLISTEN 0 1 *:1", '",pid=1,fd=3))', "a\rb", "\u2028LISTEN 0 1 *"]
)
def test_the_name_of_a_process_makes_no_row_of_ss(name: str) -> None:
    row = f'LISTEN 0 128 0.0.0.0:8000 0.0.0.0:* users:(("{name}",pid=7,fd=3))\n'
    assert set(PORTS.parse(f"{row}LISTEN 0 128 [::]:22 [::]:*\n").listening) == {8000, 22}
