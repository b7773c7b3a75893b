"""Inventories: each fault with its line and remedy, the search for the file, hosts and groups."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from spark_cluster import places
from spark_cluster.core.error import InputError
from spark_cluster.engines.placement import place
from spark_cluster.inventory.loader import FILE, find, group, load, select, target
from spark_cluster.inventory.models import Inventory

from . import world
from .cases import refused, refused_as_its_head_says, write
from .test_engines import recipe

#: The smallest inventory.
ONE = "hosts: {spark-1: {}}\n"

CASES = sorted((world.DATA / "inventory").glob("*.yaml"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_fault_names_file_line_field_and_what_would_be_right(path: Path) -> None:
    refused_as_its_head_says(path, lambda: load(path))


def test_the_shipped_inventory_is_sound() -> None:
    loaded = world.inventory()
    assert list(loaded.hosts) == ["spark-1", "spark-2", "spark-3"]
    assert loaded.groups == {"pair": ("spark-2", "spark-3")}
    head, worker = loaded.hosts["spark-2"], loaded.hosts["spark-3"]
    assert [rail.mtu for rail in head.rails] == [9000, 9000]
    assert [rail.ip for rail in worker.rails] == ["192.168.100.11", "192.168.101.11"]
    assert loaded.peers("spark-2", head.rails[1]) == [("spark-3", worker.rails[1])]


EXAMPLES = sorted((places.shipped("inventory") / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_sound_and_all_its_groups_can_serve(path: Path) -> None:
    loaded = load(path)
    assert loaded.groups
    for names in loaded.groups.values():
        chosen = place(recipe(nodes=len(names), rails="dual"), loaded, "group", names)
        assert all(len(rails) >= 2 for rails in chosen.rails)
        assert len({rail.network for rail in chosen.sockets}) == 1


def test_the_examples_are_those_of_the_topologies() -> None:
    assert [path.stem for path in EXAMPLES] == ["both-ports", "pair", "ring", "switch"]


def test_merge_keys_work_and_are_no_duplicates(tmp_path: Path) -> None:
    path = write(
        tmp_path / FILE,
        "hosts:\n  spark-1: &same {user: nvidia, port: 2222}\n  spark-2: {<<: *same, port: 22}\n",
    )
    loaded = load(path)
    assert loaded.hosts["spark-2"].user == "nvidia"
    assert loaded.hosts["spark-2"].port == 22


@pytest.mark.parametrize("others", ["null", "[]", "5", "{a: 1}", "[1, null, {}]", "[{address: x}]"])
def test_a_half_without_an_address_is_told_whatever_stands_beside_it(
    tmp_path: Path, others: str
) -> None:
    text = (
        f"hosts:\n  a: {{rails: [{{interface: x}}]}}\n  b: {{rails: {others}, links: {others}}}\n"
    )
    error = refused(lambda: load(write(tmp_path / FILE, text)))
    assert "x has no address" in error.message
    assert "such as 192.168.100.10/24" in error.remedy


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    error = refused(lambda: load(tmp_path / "none.yaml"))
    assert str(tmp_path / "none.yaml") in error.message
    assert "No such file" in error.message
    assert "directory" in refused(lambda: load(tmp_path)).message


# Where the inventory is looked for, first wins


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, an empty current folder, no variable set."""
    for name in ("SPARK_CLUSTER_INVENTORY", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    return tmp_path


def test_the_shipped_inventory_is_the_last_resort(desk: Path) -> None:
    assert find(None) == places.shipped("inventory") / FILE


def test_the_search_goes_from_the_nearest_to_the_shipped(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write(desk / "home/.config/spark-cluster/inventory" / FILE, ONE)
    assert find(None) == config
    here = write(desk / "here/inventory" / FILE, ONE)
    assert find(None) == here
    lab = write(desk / "lab.yaml", ONE)
    write(desk / "home/.local/state/spark-cluster/current-inventory", f"{lab}\n")
    assert find(None) == lab
    named = write(desk / "named.yaml", ONE)
    monkeypatch.setenv("SPARK_CLUSTER_INVENTORY", str(named))
    assert find(None) == named
    given_here = write(desk / "given.yaml", ONE)
    assert find(str(given_here)) == given_here


def test_a_folder_means_the_file_in_it(desk: Path) -> None:
    path = write(desk / "cluster" / FILE, ONE)
    assert find(str(desk / "cluster")) == path


def test_a_home_in_the_name_is_expanded(desk: Path) -> None:
    path = write(desk / "home/mine.yaml", ONE)
    assert find("~/mine.yaml") == path


def test_an_inventory_that_is_not_there_is_told_with_where_its_name_comes_from(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (desk / "empty").mkdir()
    error = refused(lambda: find(str(desk / "empty")))
    assert error.message == f"there is no inventory at {desk / 'empty' / FILE}"
    monkeypatch.setenv("SPARK_CLUSTER_INVENTORY", "/nope")
    error = refused(lambda: find(None))
    assert error.message == "there is no inventory at /nope (from $SPARK_CLUSTER_INVENTORY)"
    assert "`spark-cluster init HOST…` writes one" in error.remedy
    assert "(from" not in refused(lambda: find("/nope")).message


def test_a_pointer_to_nothing_is_passed_over(desk: Path) -> None:
    write(desk / "home/.local/state/spark-cluster/current-inventory", f"{desk}/gone.yaml\n")
    assert find(None) == places.shipped("inventory") / FILE


def test_an_inventory_that_cannot_be_looked_at_is_told_by_who_reads_it(desk: Path) -> None:
    assert "File name too long" in refused(lambda: load(find("x" * 5000))).message


@pytest.mark.parametrize("text", [b"\xff\xfe/lab.yaml", b"a\0b", b"x" * 9000, b""])
def test_a_damaged_pointer_is_passed_over(desk: Path, text: bytes) -> None:
    write(desk / "home/.local/state/spark-cluster/current-inventory", "").write_bytes(text)
    assert find(None) == places.shipped("inventory") / FILE


def test_the_folders_of_xdg_count(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(desk / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(desk / "state"))
    config = write(desk / "config/spark-cluster/inventory" / FILE, ONE)
    assert find(None) == config
    lab = write(desk / "lab.yaml", ONE)
    write(desk / "state/spark-cluster/current-inventory", str(lab))
    assert find(None) == lab


def test_a_relative_folder_of_xdg_is_ignored(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "config")
    assert places.config_dir() == desk / "home/.config/spark-cluster"


def test_no_inventory_anywhere(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "shipped", lambda folder: desk / "nothing" / folder)
    error = refused(lambda: find(None))
    assert "no inventory found" in error.message
    assert "--inventory" in error.remedy


# Hosts and groups


def test_select_keeps_the_order_of_the_inventory() -> None:
    loaded = world.inventory()
    assert select(loaded, None) == ["spark-1", "spark-2", "spark-3"]
    assert select(loaded, []) == ["spark-1", "spark-2", "spark-3"]
    assert select(loaded, ["spark-3", "spark-1"]) == ["spark-1", "spark-3"]
    assert select(loaded, ["pair", "spark-3"]) == ["spark-2", "spark-3"]


def test_select_of_an_unknown_host_suggests_one() -> None:
    error = refused(lambda: select(world.inventory(), ["sprak-2"]))
    assert "'sprak-2'" in error.message
    assert "Did you mean `spark-2`?" in error.remedy
    assert "pair" in error.remedy
    assert error.place == str(world.inventory().path)


def test_the_only_group_is_the_default() -> None:
    assert group(world.inventory(), None) == ("pair", ("spark-2", "spark-3"))
    assert group(world.inventory(), "pair") == ("pair", ("spark-2", "spark-3"))


def test_hosts_are_a_group_of_their_own() -> None:
    assert group(world.inventory(), "spark-3,spark-1") == (
        "spark-3, spark-1",
        ("spark-3", "spark-1"),
    )
    assert (
        "'spark-3,spark-9'" in refused(lambda: group(world.inventory(), "spark-3,spark-9")).message
    )


def test_an_unknown_group_suggests_one() -> None:
    error = refused(lambda: group(world.inventory(), "pear"))
    assert "'pear'" in error.message
    assert "Did you mean `pair`?" in error.remedy


@pytest.mark.parametrize(
    ("groups", "remedy"),
    [
        ("{}", "Name the hosts: --group HOST, or --group HOST,HOST"),
        ("{a: [spark-1], b: [spark-1]}", "--group: a, b"),
    ],
)
def test_without_one_group_it_must_be_named(tmp_path: Path, groups: str, remedy: str) -> None:
    loaded = load(write(tmp_path / FILE, f"hosts: {{spark-1: {{}}}}\ngroups: {groups}\n"))
    assert remedy in refused(lambda: group(loaded, None)).remedy


def test_a_target_has_absolute_paths_beside_the_inventory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    path = write(
        tmp_path / FILE,
        "ssh: {config: ssh_config, known_hosts: /etc/known, connect_timeout: 3}\n"
        "hosts:\n  spark-1: {address: 10.0.0.1, user: nvidia, port: 2201, identity: ~/.ssh/key}\n"
        "  spark-2: {}\n",
    )
    loaded = load(path)
    first, second = target(loaded, "spark-1"), target(loaded, "spark-2")
    assert (first.address, first.user, first.port) == ("10.0.0.1", "nvidia", 2201)
    assert first.identity == "/home/me/.ssh/key"
    assert first.ssh_config == str(tmp_path / "ssh_config")
    assert first.known_hosts == "/etc/known"
    assert first.connect_timeout == 3
    assert (second.address, second.user, second.port, second.identity) == (
        "spark-2",
        None,
        None,
        None,
    )


# Whatever the file holds


def load_text(text: bytes) -> Inventory | InputError:
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(text)
        file.flush()
        try:
            return load(Path(file.name))
        except InputError as error:
            assert error.remedy
            assert error.message
            return error


WORDS = st.sampled_from(
    [
        "hosts", "spark-1", "rails", "links", "groups", "interface", "address", "device", "mtu",
        "ssh", "version", "recipes", "on", "null", "1", "enp1s0f1np1", "rocep1s0f1",
        "10.0.0.1/24", "10.0.0.2/31",
    ]
)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
HOSTS = st.dictionaries(WORDS, st.dictionaries(WORDS, VALUES, max_size=4), max_size=3)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.fixed_dictionaries({"hosts": HOSTS}, optional={"groups": VALUES, "ssh": VALUES}) | VALUES)
def test_any_yaml_gives_an_inventory_or_an_input_error(data: Any) -> None:
    load_text(yaml.safe_dump(data, allow_unicode=True).encode("utf-8", "surrogatepass"))


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="abh:-{}[]?!&*<>|%@`'\"#,.~ \n\t0178\u2028", max_size=40))
@example("? [a]\n: b\n")
@example("? {a: b}\n: c\n")
@example("a: &x [*x]\n")
@example("hosts: &x {spark-1: *x}\n")
@example("<<: 1\n")
@example("hosts: !!int ''\n")
@example("hosts: !!timestamp x\n")
@example("hosts: 2026-13-45\n")
@example("hosts: !!python/object/apply:os.system [reboot]\n")
@example("[" * 600)
@example("hosts: {1: {}}\n")
@example("hosts: {null: {}}\n")
@example("=: 1\n")
def test_any_text_gives_an_inventory_or_an_input_error(text: str) -> None:
    load_text(text.encode())


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_give_an_inventory_or_an_input_error(data: bytes) -> None:
    load_text(data)
