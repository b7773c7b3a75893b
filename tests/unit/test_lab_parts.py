"""The lab's smaller parts: cache layers, processes, faults, requirements, the model's files."""

import hashlib
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spark_cluster.core.error import InputError, LabError
from spark_cluster.lab import fault, image, layers, model, process, requirements, rootfs
from spark_cluster.lab.packages import node_packages
from spark_cluster.lab.process import Running
from spark_cluster.lab.topology import INTERFACES
from tests.command_line import Cli


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "spark-cluster" / "lab"


def silent(text: str) -> None:
    pass


def touch(work: Path) -> None:
    (work / "made").write_text("x")


def test_a_layer_is_built_once_and_older_ones_go_when_told(cache: Path) -> None:
    built: list[Path] = []

    def build(work: Path) -> None:
        built.append(work)
        touch(work)

    first = layers.layer("base", "1", build, silent)
    assert layers.layer("base", "1", build, silent) == first
    assert len(built) == 1
    other = layers.layer("node", "1", touch, silent)
    second = layers.layer("base", "2", build, silent)
    layers.tidy([second])
    assert first.is_dir()  # a lab may be about to start from it
    os.utime(first, (1, 1))
    with (first / "made").open():
        layers.tidy([second])
    assert first.is_dir()  # a machine has it open
    os.utime(second, (1, 1))
    layers.tidy([second])
    assert second.is_dir()
    assert other.is_dir()
    assert not first.exists()


def test_a_process_that_ends_while_open_files_are_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    listed = Path.iterdir

    def ends(path: Path) -> Iterator[Path]:
        if path == Path("/proc/1/fd"):
            raise FileNotFoundError(path)
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", ends)
    with (tmp_path / "mine").open("w"):
        assert str(tmp_path / "mine") in layers.open_files()


def test_a_failed_build_leaves_nothing_and_the_old_layer(cache: Path) -> None:
    old = layers.layer("base", "1", touch, silent)

    def crash(work: Path) -> None:
        touch(work)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        layers.layer("base", "2", crash, silent)
    assert [path.name for path in cache.iterdir()] == [old.name]


def test_what_a_killed_build_left_is_cleared(cache: Path) -> None:
    left = layers.root() / "tmp-base-1"
    (left / "root" / "dev").mkdir(parents=True)
    made = layers.layer("base", "1", touch, silent)
    assert [path.name for path in made.iterdir()] == ["made"]
    (layers.root() / "tmp-saved-9").mkdir()
    layers.tidy([made])
    assert [path.name for path in cache.iterdir()] == ["base-1"]


def test_two_builders_make_one_layer(cache: Path) -> None:
    built: list[Path] = []
    waiting = threading.Event()
    said: list[str] = []

    def build(work: Path) -> None:
        built.append(work)
        assert waiting.wait(10)
        touch(work)

    def say(text: str) -> None:
        said.append(text)
        waiting.set()

    with ThreadPoolExecutor() as pool:
        made = {pool.submit(layers.layer, "base", "1", build, say) for _ in range(2)}
        assert {future.result(20).name for future in made} == {"base-1"}
    assert len(built) == 1
    assert "waiting" in said[0]


def test_a_digest_sees_every_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = layers.digest(layers.digest_tree(tmp_path))
    (tmp_path / "a").write_text("2")
    assert layers.digest(layers.digest_tree(tmp_path)) != before


def test_a_pid_is_ours_only_with_its_start_time() -> None:
    child = subprocess.Popen(["sleep", "60"])
    ticks = process.start_ticks(child.pid)
    assert ticks is not None
    ours, stranger = Running(child.pid, ticks), Running(child.pid, ticks + 1)
    assert ours == Running.of(child.pid)
    assert ours.alive()
    assert not stranger.alive()
    assert stranger.end()  # by now: gone, and not touched
    assert child.poll() is None
    assert ours.end()
    assert process.start_ticks(child.pid) is None
    assert not Running.of(child.pid).alive()


def test_a_process_is_waited_for_until_it_made_its_socket(tmp_path: Path) -> None:
    made, never = tmp_path / "made", tmp_path / "never"
    child = subprocess.Popen(["sh", "-c", 'touch "$0"; exec sleep 60', str(made)])
    running = process.when_there(child, made, limit=30)
    assert running is not None
    assert running.alive()
    assert running.end()
    for command, limit in ((["false"], 30.0), (["sleep", "60"], 0.05)):
        child = subprocess.Popen(command)
        assert process.when_there(child, never, limit=limit) is None
        assert child.returncode is not None


def test_fault_names_are_unique_and_every_script_is_shell() -> None:
    names = [known.name for known in fault.FAULTS]
    assert len(names) == len(set(names))
    target = fault.Target("spark-2", "enp1s0f1np1", 6379)
    for known in fault.FAULTS:
        for action in (known.apply, known.undo):
            if isinstance(action, str):
                text = fault.script(action, target)
                subprocess.run(["sh", "-n"], input=text, text=True, check=True)


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(InputError) as error:
        fault.inject("gremlin")
    assert "fault list" in error.value.remedy


def test_faults_are_listed_for_programs_too(cli: Cli) -> None:
    told = cli("lab", "fault", "list", "--json").lines[0]["faults"]
    assert [each["name"] for each in told] == [each.name for each in fault.FAULTS]
    assert all(each["does"] and each["undo"] for each in told)


def test_requirements_run_without_third_party_packages() -> None:
    root = Path(requirements.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c",
         f"import sys; sys.path.insert(0, {str(root)!r}); import runpy; sys.argv = ['x', '--why'];"
         "runpy.run_module('spark_cluster.lab.requirements', run_name='__main__')"],
        env={"PATH": "/nowhere"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_missing_programs_name_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "find_program", lambda name: None)
    assert "qemu-system-x86" in {package.name for package in requirements.missing()}
    assert all(package.why for package in requirements.missing())


def test_the_headers_that_gcc_only_recommends_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A minimal system has gcc without them: no kernel compiled there."""
    monkeypatch.setattr(Path, "exists", lambda _: False)
    assert "libc6-dev" in {package.name for package in requirements.missing_to_compile()}


def test_the_model_is_complete_as_the_hub_lays_it_out(tmp_path: Path) -> None:
    model.write_hub(tmp_path)
    folder = tmp_path / "models--QuantTrio--Qwen3-VL-235B-A22B-Instruct-AWQ"
    snapshot = folder / "snapshots" / (folder / "refs" / "main").read_text()
    config = json.loads((snapshot / "config.json").read_text())["text_config"]
    assert (config["num_hidden_layers"], config["hidden_size"]) == (94, 4096)
    index = json.loads((snapshot / "model.safetensors.index.json").read_text())
    shards = set(index["weight_map"].values())
    assert len(shards) == 2
    for name in shards:
        blob = (snapshot / name).resolve()
        content = blob.read_bytes()
        assert blob.name == hashlib.sha256(content).hexdigest()
        (size,) = struct.unpack_from("<Q", content)
        header = json.loads(content[8 : 8 + size])
        assert max(t["data_offsets"][1] for t in header.values()) == len(content) - 8 - size


def test_link_files_name_every_interface() -> None:
    text = "".join(rootfs.link_files().values())
    assert all(f"Name={name}\n" in text for name in INTERFACES)


def test_guest_files_that_need_a_mode_exist() -> None:
    for name in rootfs._MODES:
        assert (rootfs.GUEST / name).is_file(), name


def test_ubuntu_and_debian_both_have_a_kernel_and_docker() -> None:
    for distro in ("debian", "ubuntu"):
        packages = node_packages(distro)
        assert "docker.io" in packages
        assert any(name.startswith("linux-image") for name in packages)


def test_building_without_root_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(requirements, "missing", list)
    with pytest.raises(LabError) as error:
        image._need_root()
    assert "sudo" in error.value.remedy


def test_udevd_which_makes_the_rdma_devices_may_send() -> None:
    """systemd forbids udevd all traffic, and rxe's rdma_cm packets leave in udevd's name."""
    rules = (rootfs.GUEST / "etc/udev/rules.d/99-spark-rxe.rules").read_text()
    assert "/usr/lib/spark-lab/rxe" in rules
    unit = rootfs.GUEST / "etc/systemd/system/systemd-udevd.service.d/rxe.conf"
    assert "IPAddressDeny=" in unit.read_text().splitlines()
