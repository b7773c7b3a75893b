"""`launch FILE --dry-run` of other tools' recipes: the whole path, and what cannot be honoured."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command_line import Cli, Said, assert_told
from tests.fake_transport import FakeHost

from . import world
from .cases import Expected, write
from .world import INVENTORY

FOREIGN = world.DATA / "foreign"
REFUSED = sorted((FOREIGN / "refused").glob("*.yaml"))


def dry_run(cli: Cli, path: Path, hosts: list[FakeHost]) -> Said:
    """The file lies in the working folder, as a user would have it."""
    mine = write(Path(path.name), path.read_text(encoding="utf-8"))
    return cli("launch", f"./{mine}", "--dry-run", "-v", "-i", INVENTORY, hosts=hosts)


@pytest.mark.parametrize(
    ("name", "hosts", "parts"),
    [
        (
            "eugr-two-nodes-awq.yaml",
            world.PAIR,
            [
                "Read from a recipe of spark-vllm-docker.",
                "container vllm-head: absent -> running",
                "container vllm-worker: absent -> running",
                "vllm serve example-org/Small-MoE-AWQ in vllm-head: not started -> running",
            ],
        ),
        (
            "sparkrun-two-nodes.yaml",
            world.PAIR,
            [
                "Read from a recipe of sparkrun.",
                "privileged is not used: the RDMA devices and IPC_LOCK are given one by one",
                "container vllm-head: absent -> running",
                "container vllm-worker: absent -> running",
            ],
        ),
        (
            "sparkrun-no-command.yaml",
            world.PAIR[:1],
            ["Read from a recipe of sparkrun.", "container vllm-sparkrun-no-command: absent"],
        ),
    ],
)
def test_it_is_planned_as_ours_are(
    cli: Cli, name: str, hosts: tuple[str, ...], parts: list[str]
) -> None:
    there = world.sparks(*hosts)
    said = dry_run(cli, FOREIGN / name, [*there])
    assert (said.code, said.err) == (0, "")
    words = " ".join(said.out.split())
    for part in parts:
        assert part in words
    assert [host.connections for host in there] == [1] * len(hosts)
    assert [host.changes for host in there] == [[]] * len(hosts)
    assert [host.held for host in there] == [[]] * len(hosts)


def test_mods_are_never_run_unseen_and_an_image_that_has_them_serves(cli: Cli) -> None:
    path = FOREIGN / "sparkrun-as-people-write.yaml"
    mine = write(Path(path.name), path.read_text(encoding="utf-8"))
    said = cli("launch", f"./{mine}", "--dry-run", "-i", INVENTORY, hosts=[])
    assert_told(
        said, f"{path.name}:7: sparkrun-as-people-write needs an image that fix-template changed",
        "--image NAME",
    )  # fmt: skip
    there = world.sparks(*world.PAIR[:1])
    words = ("launch", f"./{mine}", "--image", "mine:1", "--dry-run", "-v", "-i", INVENTORY)
    said = cli(*words, hosts=[*there])
    assert "container vllm-sparkrun-as-people-write: absent -> running" in said.out


def test_one_that_needs_more_hosts_than_there_are(cli: Cli) -> None:
    said = dry_run(cli, FOREIGN / "sparkrun-sglang.yaml", [])
    assert_told(
        said, "sparkrun-sglang needs 4 hosts and the group pair has 2", "a group of 4 hosts"
    )


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_a_field_that_cannot_be_honoured_is_named_before_any_host_is_asked(
    cli: Cli, path: Path
) -> None:
    expected = Expected.of(path)
    hosts = world.sparks(*world.PAIR)
    said = dry_run(cli, path, [*hosts])
    assert_told(said, f"{path.name}:{expected.line}: ", expected.says, expected.remedy)
    assert [host.connections for host in hosts] == [0, 0]
