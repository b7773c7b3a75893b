"""The commands of the steps' changes, run by a real sh on files of a test's own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from spark_cluster.core.shell import wait_for, write_file
from spark_cluster.core.step import Change
from spark_cluster.facts.memory import SWAP
from spark_cluster.facts.netplan import interfaces
from spark_cluster.facts.rdma import LIMITS_FILE, MODULES_FILE
from spark_cluster.steps import registry

from .. import world
from ..cases import write


def changes(step: str, texts: dict[str, str], **params: object) -> tuple[Change, ...]:
    known = registry()[step]
    view = world.view("spark-2", {"spark-2": texts})
    found: tuple[Change, ...] = known.assess(view, known.params(**params)).changes
    return found


def sh(commands: str, folder: Path, *, options: str = "-eu") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", options], input=commands, text=True, capture_output=True, cwd=folder, timeout=20
    )


def run(commands: str, folder: Path) -> None:
    done = sh(commands, folder)
    assert (done.returncode, done.stderr) == (0, "")


def mode(path: Path) -> str:
    return f"{path.stat().st_mode & 0o7777:o}"


# Files


@pytest.mark.parametrize(
    "content",
    ["one\n", "", "$HOME `date` \\ 'x' \"y\"\n", "a\n\n\n", "é\n", "<<EOF\nEOF\n"],
)
def test_a_file_is_written_as_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "etc dir" / "it's.conf"
    run(write_file(str(path), content, 0o640), tmp_path)
    assert path.read_text(encoding="utf-8") == content
    assert mode(path) == "640"
    assert [entry.name for entry in path.parent.iterdir()] == ["it's.conf"]


def test_a_file_is_replaced_by_rename_and_was_never_open_to_others(tmp_path: Path) -> None:
    path = write(tmp_path / "secret.yaml", "old\n")
    before = path.stat().st_ino
    run("umask 022\n" + write_file(str(path), "new\n", 0o600), tmp_path)
    assert (path.read_text(), mode(path)) == ("new\n", "600")
    assert path.stat().st_ino != before


def test_the_new_file_is_on_the_disk_before_it_takes_the_name(tmp_path: Path) -> None:
    """Else a power cut could leave an empty file under the right name."""
    path = write(tmp_path / "kept", "old\n")
    seen = f'sync() {{ cat "$1" {path} > {tmp_path}/seen; command sync "$@"; }}\n'
    run(seen + write_file(str(path), "new\n", 0o600), tmp_path)
    assert (tmp_path / "seen").read_text() == "new\nold\n"


def test_the_old_file_stays_when_the_new_one_cannot_be_written(tmp_path: Path) -> None:
    path = write(tmp_path / "kept", "old\n")
    (tmp_path / "kept.spark-cluster.new").mkdir()
    assert sh(write_file(str(path), "new\n", 0o600), tmp_path).returncode != 0
    assert path.read_text() == "old\n"


def test_the_end_marker_in_a_content_is_refused() -> None:
    with pytest.raises(ValueError, match="end marker"):
        write_file("/x", "SPARK_CLUSTER_END_OF_FILE\n", 0o600)


@pytest.mark.parametrize(
    ("step", "path"), [("memlock", LIMITS_FILE), ("rdma-modules", MODULES_FILE)]
)
def test_the_second_reading_of_a_written_file_shows_no_difference(
    tmp_path: Path, step: str, path: str
) -> None:
    empty = f"cm\n@@ {MODULES_FILE}\n\n@@ {LIMITS_FILE}\n"
    (change,) = changes(step, {"access": empty})
    target = tmp_path / "file"
    run(change.commands.replace(path, str(target)), tmp_path)
    written = target.read_text()
    assert mode(target) == "644"
    again = empty.replace(f"@@ {path}\n", f"@@ {path}\n{written}")
    assert changes(step, {"access": again}) == ()


def test_the_hook_is_written_for_the_containers_to_read(tmp_path: Path) -> None:
    (change,) = changes("host-files", {})
    run(change.commands.replace("/var/lib", str(tmp_path)), tmp_path)
    (file,) = tmp_path.rglob("sitecustomize.py")
    assert file.read_text() == world.deployment().files[0].content
    assert mode(file) == "600"
    compile(file.read_text(), str(file), "exec")


# swap at boot

FSTAB = """\
# /etc/fstab: static file system information.
UUID=77 / ext4 errors=remount-ro 0 1
/swap.img\tnone\tswap\tsw\t0\t0
#/old.img none swap sw 0 0
UUID=8a1c none swap sw,pri=5 0 0
/dev/sda1 /swap ext4 defaults 0 2
"""

FSTAB_OFF = """\
# /etc/fstab: static file system information.
UUID=77 / ext4 errors=remount-ro 0 1
# off by spark-cluster: /swap.img\tnone\tswap\tsw\t0\t0
#/old.img none swap sw 0 0
# off by spark-cluster: UUID=8a1c none swap sw,pri=5 0 0
/dev/sda1 /swap ext4 defaults 0 2
"""


def fstab_reading(path: Path) -> str:
    lines = [line for line in path.read_text().splitlines() if re.search(r"^[^#]+\sswap\s", line)]
    return "Filename Type Size Used Priority\n\n" + "\n".join(lines) + "\n"


def test_swap_at_boot_comments_the_lines_out_and_leaves_a_backup(tmp_path: Path) -> None:
    fstab = write(tmp_path / "fstab", FSTAB)
    (change,) = changes("swap", {"swap": fstab_reading(fstab)}, state="keep", at_boot="off")
    assert change.before == "2 swap lines"
    run(change.commands.replace("/etc/fstab", str(fstab)), tmp_path)
    assert fstab.read_text() == FSTAB_OFF
    assert (tmp_path / "fstab.spark-cluster").read_text() == FSTAB
    assert changes("swap", {"swap": fstab_reading(fstab)}, state="keep", at_boot="off") == ()


def test_the_real_reading_of_fstab_agrees(tmp_path: Path) -> None:
    fstab = write(tmp_path / "fstab", FSTAB)
    script = SWAP.script(None)  # type: ignore[arg-type]
    done = sh(script.replace("/etc/fstab", str(fstab)), tmp_path, options="-u")
    assert SWAP.parse(done.stdout).boot == (
        "/swap.img\tnone\tswap\tsw\t0\t0",
        "UUID=8a1c none swap sw,pri=5 0 0",
    )


# waiting in the shell


def test_wait_for_goes_on_at_once_or_fails_and_says_what(tmp_path: Path) -> None:
    run(wait_for("true", seconds=5, what="it") + "echo on > went\n", tmp_path)
    assert (tmp_path / "went").exists()
    done = sh(wait_for("false", seconds=0, what="it's there") + "touch on\n", tmp_path)
    assert done.returncode == 1
    assert done.stderr == "not within 0 s: it's there\n"
    assert not (tmp_path / "on").exists()


# netplan

RENDERERS = ("NetworkManager", "networkd")


@pytest.mark.parametrize("renderer", RENDERERS)
def test_the_rails_are_rendered_as_the_field_found(renderer: str) -> None:
    data = yaml.safe_load(world.rendered("40-cx7.yaml.j2", "spark-2", renderer))
    ethernets = data["network"]["ethernets"]
    assert set(ethernets) == {"enp1s0f1np1", "enP2p1s0f1np1"}
    assert ethernets["enP2p1s0f1np1"]["addresses"] == ["192.168.101.10/24"]
    for rail in ethernets.values():
        assert rail["mtu"] == 9000
        assert rail["renderer"] == renderer
        assert rail["dhcp4"] is False
        assert rail["link-local"] == []
        assert rail["accept-ra"] is False
        assert rail["optional"] is True
        passthrough = rail.get("networkmanager", {}).get("passthrough", {})
        wanted = {"ipv6.method": "disabled"} if renderer == "NetworkManager" else {}
        assert passthrough == wanted


@pytest.mark.parametrize("renderer", RENDERERS)
def test_the_other_link_is_rendered_without_an_mtu_of_ours(renderer: str) -> None:
    data = yaml.safe_load(world.rendered("50-10gbe.yaml.j2", "spark-1", renderer))
    assert data["network"]["ethernets"] == {
        "enP7s7": {
            "renderer": renderer,
            "dhcp4": False,
            "addresses": ["192.168.102.10/24"],
            "optional": True,
        }
    }


def test_nothing_is_rendered_for_a_host_without_rails() -> None:
    assert world.rendered("40-cx7.yaml.j2", "spark-1", "networkd") == ""
    assert world.rendered("50-10gbe.yaml.j2", "spark-3", "networkd") == ""


def test_a_rendered_file_names_what_it_configures() -> None:
    text = world.rendered("40-cx7.yaml.j2", "spark-3", "networkd")
    assert interfaces(text) == frozenset({"enp1s0f1np1", "enP2p1s0f1np1"})
    assert text.endswith("optional: true\n")
    assert "spark-3" in text.splitlines()[0]


def test_the_commands_of_netplan_write_beside_where_they_run(tmp_path: Path) -> None:
    first, second = changes(
        "netplan",
        {"netplan": "active\n"},
        templates=("40-cx7.yaml.j2", "50-10gbe.yaml.j2"),
    )
    run(first.commands + second.commands, tmp_path)
    file = tmp_path / "40-cx7.yaml"
    assert file.read_text() == world.rendered("40-cx7.yaml.j2", "spark-2", "NetworkManager")
    assert mode(file) == "600"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["40-cx7.yaml", "50-10gbe.yaml"]
    assert first.diff[0].startswith("+")


@pytest.mark.contract
@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("host", ["spark-1", "spark-2", "spark-3"])
def test_the_real_netplan_takes_what_is_rendered(tmp_path: Path, host: str, renderer: str) -> None:
    netplan = shutil.which("netplan")
    if netplan is None:
        pytest.skip("no netplan on this machine (apt install netplan.io)")
    for template in world.templates():
        content = world.rendered(template, host, renderer)
        if content:
            path = write(tmp_path / "etc/netplan" / template.removesuffix(".j2"), content)
            path.chmod(0o600)
    # Newer ones have systemd and udev reload their files afterwards: not on this machine.
    for program in ("systemctl", "udevadm"):
        write(tmp_path / "bin" / program, "#!/bin/sh\n").chmod(0o755)
    done = subprocess.run(
        [netplan, "generate", "--root-dir", str(tmp_path)],
        text=True,
        capture_output=True,
        env={**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    made = [p.name for p in (tmp_path / "run").rglob("*") if p.is_file()]
    wanted = "nmconnection" if renderer == "NetworkManager" else "network"
    assert any(name.endswith(wanted) for name in made)
