"""The files by which the other commands find the lab's nodes."""

from pathlib import Path

import pytest
import yaml

from spark_cluster.lab import model, state
from spark_cluster.lab.state import NodeState, State
from spark_cluster.lab.topology import topology
from spark_cluster.recipes.loader import load as load_recipe

PORTS = {"spark-1": 1001, "spark-2": 1002, "spark-3": 1003}


def test_the_inventory_names_rails_links_and_api() -> None:
    found = yaml.safe_load(state.inventory(topology("pair"), PORTS))
    assert found["hosts"]["spark-1"] == {
        "api": "127.0.0.1:1001",
        "links": [{"interface": "enP7s7", "address": "192.168.102.10/24"}],
    }
    assert found["hosts"]["spark-3"]["rails"] == [
        {"interface": "enp1s0f1np1", "device": "rocep1s0f1", "address": "192.168.100.11/24"},
        {"interface": "enP2p1s0f1np1", "device": "roceP2p1s0f1", "address": "192.168.101.11/24"},
    ]
    assert found["groups"] == {"pair": ["spark-2", "spark-3"]}
    names = ("qwen3-vl-235b", "qwen3-vl-235b-mp", "qwen3-32b-fp8")
    assert found["recipes"] == {name: f"recipes/{name}.yaml" for name in names}


def test_the_ssh_config_is_strict_and_absolute() -> None:
    text = state.ssh_config(Path("/some where/lab"), PORTS)
    assert 'IdentityFile "/some where/lab/id_ed25519"' in text
    assert 'UserKnownHostsFile "/some where/lab/known_hosts"' in text
    assert "Host spark-2\n    HostName 127.0.0.1\n    Port 1002\n    User spark\n" in text
    assert "StrictHostKeyChecking no" not in text


def test_known_hosts_has_each_nodes_own_key_at_its_port(tmp_path: Path) -> None:
    for name in PORTS:
        (tmp_path / f"{name}.pub").write_text(f"ssh-ed25519 KEY{name} {name}\n")
    lines = state.known_hosts(tmp_path, PORTS).splitlines()
    assert lines[1] == "[127.0.0.1]:1002 ssh-ed25519 KEYspark-2"


def make_state() -> State:
    nodes = {name: NodeState(10, 20, port, port + 1, 1.5, True) for name, port in PORTS.items()}
    return State("pair", "tcg", 2048, 999, "/run/x", "/c/base", "/c/disk", "/c/saved", nodes)


def test_state_survives_being_written(tmp_path: Path) -> None:
    made = make_state()
    made.save(tmp_path)
    assert state.load(tmp_path) == made


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"nodes": {"a": {}}}', '{"nodes": 3}'])
def test_an_unreadable_note_is_no_lab(tmp_path: Path, text: str) -> None:
    (tmp_path / "lab.json").write_text(text)
    assert state.load(tmp_path) is None


def test_files_come_and_go_with_the_pointer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("SPARK_CLUSTER_LAB", raising=False)
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "id_ed25519").write_text("private\n")
    for name in PORTS:
        (keys / f"{name}.pub").write_text(f"ssh-ed25519 KEY {name}\n")
    where = state.folder()
    where.mkdir(parents=True)
    state.write_files(where, topology("pair"), make_state(), keys)
    pointer = tmp_path / "state" / "spark-cluster" / "current-inventory"
    assert pointer.read_text() == f"{where / 'inventory.yaml'}\n"
    assert (where / "id_ed25519").stat().st_mode & 0o777 == 0o600
    recipe = yaml.safe_load((where / "recipes" / "qwen3-vl-235b.yaml").read_text())
    assert recipe["extends"] == "qwen3-vl-235b"
    for path in (where / "recipes").iterdir():
        loaded = load_recipe(str(path), {})
        assert loaded.name == path.stem
        assert loaded.requires.memory_gib < 1
        assert not loaded.downloads
        assert loaded.model == model.NAME
    state.remove_files(where)
    assert not where.exists()
    assert not pointer.exists()


def test_somebody_elses_pointer_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    pointer = tmp_path / "spark-cluster" / "current-inventory"
    pointer.parent.mkdir()
    pointer.write_text("/home/me/sparks.yaml\n")
    state.remove_files(state.folder())
    assert pointer.exists()
