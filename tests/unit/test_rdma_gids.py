"""The GID tables, in the layouts of mlx5 and rxe."""

from __future__ import annotations

import ipaddress
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.rdma.gids import GidEntry, find_gid, mapped_ipv4, parse, probe_script

DATA = Path(__file__).parent / "data" / "rdma"
DEVICE = "rocep1s0f1"


def text_of(name: str) -> str:
    return (DATA / f"gids-{name}.txt").read_text()


@pytest.mark.parametrize(("name", "index"), [("mlx5", 3), ("rxe", 1)])
def test_the_index_of_an_address(name: str, index: int) -> None:
    table = parse(text_of(name))[DEVICE]
    found = find_gid(table.entries, "192.168.100.10/24")
    assert found == GidEntry(
        index, "0000:0000:0000:0000:0000:ffff:c0a8:640a", "192.168.100.10", "v2", "enp1s0f1np1"
    )
    assert table.netdev == "enp1s0f1np1"


def test_mlx5_slots() -> None:
    tables = parse(text_of("mlx5"))
    assert [entry.index for entry in tables[DEVICE].entries] == [0, 1, 2, 3, 10]
    assert tables[DEVICE].entries[2].roce_version == "v1"
    assert tables[DEVICE].entries[0].ipv4 is None
    assert not tables["roceP2p1s0f1"].present
    assert [name for name, found in tables.items() if found.netdev == "enp1s0f1np1"] == [DEVICE]


@pytest.mark.parametrize("address", ["192.168.101.10", "192.168.100.1", "", "fe80::1"])
def test_no_entry(address: str) -> None:
    """101.10 is there in slot 10, but its type could not be read: no proof that it is RoCE v2."""
    assert find_gid(parse(text_of("mlx5"))[DEVICE].entries, address) is None


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_read_back(address: ipaddress.IPv4Address) -> None:
    mapped = ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed).exploded
    assert mapped_ipv4(mapped) == str(address)


@given(st.lists(st.one_of(st.text(), st.sampled_from(text_of("mlx5").splitlines()))))
def test_parse_takes_any_text(lines: list[str]) -> None:
    for table in parse("\n".join(lines)).values():
        indexes = [entry.index for entry in table.entries]
        assert indexes == sorted(set(indexes))


def test_the_script_reads_a_tree_under_sh(tmp_path: Path) -> None:
    for line in text_of("rxe").splitlines():
        path, _, value = line.partition(":")
        if path.startswith("/sys/"):
            file = tmp_path / path[1:]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(value + "\n")
    port = tmp_path / "sys/class/infiniband" / DEVICE / "ports/1"
    (port / "gids/2").write_text("0000:0000:0000:0000:0000:0000:0000:0000\n")
    (port / "gid_attrs/types/2").mkdir()  # like EINVAL: it cannot be read
    script = probe_script([DEVICE, "nothing0"], sys=str(tmp_path / "sys"))
    ran = subprocess.run(
        ["sh", "-eu"], input=script, capture_output=True, text=True, check=True, timeout=20
    )
    assert ran.stderr == ""
    assert "0000:0000:0000:0000:0000:0000:0000:0000\n" not in ran.stdout
    tables = parse(ran.stdout)
    assert tables[DEVICE] == parse(text_of("rxe"))[DEVICE]
    assert not tables["nothing0"].present
