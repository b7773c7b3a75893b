"""Playbooks: each fault with its line and remedy, --set, and the playbooks that ship."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spark_cluster import places
from spark_cluster.core.error import InputError
from spark_cluster.core.plan import Override
from spark_cluster.playbook.loader import BoundPlaybook, Setting, find, load
from spark_cluster.steps import registry
from tests.command_line import Cli

from . import world
from .cases import refused, refused_as_its_head_says, write
from .world import Spark, launching, unlimited

CASES = sorted((world.DATA / "playbooks").glob("*.yaml"))
SHIPPED = sorted(places.shipped("playbooks").glob("*.yaml"))
BOOTSTRAP = places.shipped("playbooks") / "bootstrap.yaml"


def params(playbook: BoundPlaybook, step: str) -> Any:
    return next(planned.params for planned in playbook.steps if planned.step.name == step)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_fault_names_file_line_field_and_what_would_be_right(path: Path) -> None:
    refused_as_its_head_says(path, lambda: load(path, registry()))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_playbook_binds_to_the_registry(path: Path) -> None:
    bound = load(path, registry())
    assert bound.name == path.stem
    assert bound.title
    assert [planned.index for planned in bound.steps] == list(range(len(bound.steps)))


def test_every_step_is_used_by_a_shipped_playbook() -> None:
    used = {planned.step.name for path in SHIPPED for planned in load(path, registry()).steps}
    assert used == set(registry())


def test_the_four_commands_have_their_playbooks() -> None:
    assert {"bootstrap", "launch", "teardown", "verify-rdma"} <= {path.stem for path in SHIPPED}


def test_the_network_comes_before_what_rests_on_it() -> None:
    names = [planned.step.name for planned in load(BOOTSTRAP, registry()).steps]
    assert names.index("netplan") < names.index("mtu") < names.index("jumbo-ping")
    assert names.index("ipv6") < names.index("rdma-devices")


@pytest.mark.parametrize(
    ("setting", "step", "parameter", "value"),
    [
        ("swap.at_boot=off", "swap", "at_boot", "off"),
        ("swap.state=on", "swap", "state", "on"),
        ("swap.state=keep", "swap", "state", "keep"),
        ("netplan.guard_seconds=300", "netplan", "guard_seconds", 300),
        ("netplan.templates=[a.j2, b.j2]", "netplan", "templates", ("a.j2", "b.j2")),
        ("docker.group=true", "docker", "group", True),
        ("docker.group=yes", "docker", "group", True),
    ],
)
def test_set_changes_a_parameter(setting: str, step: str, parameter: str, value: object) -> None:
    bound = load(BOOTSTRAP, registry(), [setting])
    assert getattr(params(bound, step), parameter) == value


def test_set_keeps_the_other_parameters() -> None:
    bound = load(BOOTSTRAP, registry(), ["netplan.guard_seconds=60", "swap.state=keep"])
    assert params(bound, "netplan").guard_seconds == 60
    assert params(bound, "netplan").templates == ("40-cx7.yaml.j2", "50-10gbe.yaml.j2")
    assert params(bound, "swap").at_boot == "keep"


def test_the_last_set_wins() -> None:
    bound = load(BOOTSTRAP, registry(), ["swap.state=on", "swap.state=keep"])
    assert params(bound, "swap").state == "keep"


@pytest.mark.parametrize(
    ("setting", "says", "remedy"),
    [
        ("swap", "not of the form STEP.PARAMETER=VALUE", "--set swap.at_boot=off"),
        ("swap.state", "not of the form STEP.PARAMETER=VALUE", "--set swap.at_boot=off"),
        ("swap=off", "not of the form STEP.PARAMETER=VALUE", "--set swap.at_boot=off"),
        ("swap.=off", "not of the form STEP.PARAMETER=VALUE", "--set swap.at_boot=off"),
        ("swop.state=off", "has no step 'swop'", "Did you mean `swap`?"),
        ("canary.seconds=1", "has no step 'canary'", "Known steps"),
        ("swap.bogus=1", "--set swap.bogus: there is no such field", "at_boot"),
        (
            "swap.state=gone",
            "--set swap.state: input should be 'off', 'on', 'keep' or",
            "'gone'",
        ),
        ("swap.state=", "--set swap.state: input should be", "None"),
        ("netplan.guard_seconds=1", "--set netplan.guard_seconds: input should be greater", "1"),
        ("netplan.guard_seconds=[1", "'[1' is no YAML value", "Quote it"),
        ("netplan.guard_seconds=2026-13-45", "is no YAML value", "Quote it"),
        ("netplan.guard_seconds=!!int ''", "is no YAML value", "Quote it"),
    ],
)
def test_a_wrong_set_names_itself(setting: str, says: str, remedy: str) -> None:
    error = refused(lambda: load(BOOTSTRAP, registry(), [setting]))
    assert says in error.message
    assert remedy in error.remedy
    assert error.place is None  # it is not the file's fault


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        (Override("swap", "state", "gone", "--restore-swap"), "--restore-swap: input should be"),
        (
            Override("swap", "state", "gone"),
            "swap.state: input should be 'off', 'on', 'keep'",
        ),
        (Override("canary", "seconds", 1, "--quick"), "--quick: the playbook bootstrap has no"),
    ],
)
def test_what_a_verb_sets_is_named_as_it_was_typed(setting: Override, says: str) -> None:
    error = refused(lambda: load(BOOTSTRAP, registry(), [setting]))
    assert error.message.startswith(says)
    assert error.place is None


def test_the_last_that_sets_a_parameter_is_named() -> None:
    settings: list[Setting] = [
        Override("swap", "state", "on", "--restore-swap"),
        "swap.state=gone",
    ]
    error = refused(lambda: load(BOOTSTRAP, registry(), settings))
    assert error.message.startswith("--set swap.state: input should be")


def test_a_fault_of_the_file_is_the_files_whatever_is_set(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine.yaml",
        "name: mine\ntitle: M\nsteps:\n  - step: swap\n    with:\n      stat: off\n",
    )
    error = refused(lambda: load(path, registry(), ["swap.at_boot=off"]))
    assert error.place == f"{path}:6"


def test_set_reaches_every_line_of_a_step() -> None:
    path = places.shipped("playbooks") / "launch.yaml"
    bound = load(path, registry(), ["containers.stop_seconds=7"])
    seconds = [
        p.params.model_dump()["stop_seconds"] for p in bound.steps if p.step.name == "containers"
    ]
    assert seconds == [7, 7]


def test_an_unknown_playbook_suggests_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    error = refused(lambda: find("boostrap"))
    assert "'boostrap'" in error.message
    assert "Did you mean `bootstrap`?" in error.remedy


def test_a_playbook_beside_the_user_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    assert find("bootstrap") == BOOTSTRAP
    own = write(tmp_path / "config/spark-cluster/playbooks/bootstrap.yaml", "")
    assert find("bootstrap") == own
    here = write(tmp_path / "playbooks/bootstrap.yaml", "")
    assert find("bootstrap") == here


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30) | st.text(max_size=20).map("swap.state=".__add__))
@example("swap.state=*a")
@example("swap.state=!!bool maybe")
@example("netplan.templates={? [a] : b}")
def test_any_set_gives_a_playbook_or_an_input_error(setting: str) -> None:
    try:
        load(BOOTSTRAP, registry(), [setting])
    except InputError as error:
        assert error.remedy


# Steps that had another name before


@pytest.mark.parametrize(
    ("old", "new"),
    [("as-before", "launch-snapshot"), ("gone", "teardown-check"), ("traces", "shared-memory")],
)
def test_a_step_keeps_its_former_name_for_one_release(old: str, new: str, tmp_path: Path) -> None:
    parameters = "    with: {state: noted}\n" if old == "as-before" else ""
    text = f"name: mine\ntitle: M\nsteps:\n  - step: {old}\n{parameters}"
    path = write(tmp_path / "mine.yaml", text)
    bound = load(path, registry())
    assert [planned.step.name for planned in bound.steps] == [new]
    assert bound.notes[1:] == (
        f"{path}:4: the step {old} is now called {new}; the next release knows only that",
    )


def test_set_takes_the_former_name_and_the_new_one_alike(tmp_path: Path) -> None:
    text = "name: mine\ntitle: M\nsteps:\n  - step: gone\n"
    path = write(tmp_path / "mine.yaml", text)
    shipped = places.shipped("playbooks") / "teardown.yaml"
    for book, setting in (
        (path, "gone.seconds=7"),
        (path, "teardown-check.seconds=7"),
        (shipped, "gone.seconds=7"),
        (shipped, "teardown-check.seconds=7"),
    ):
        bound = load(book, registry(), [setting])
        assert params(bound, "teardown-check").seconds == 7
        told = [note for note in bound.notes if note.startswith(f"--set {setting}")]
        assert bool(told) == setting.startswith("gone")


def test_the_shipped_playbooks_use_the_steps_names_of_today() -> None:
    assert [note for path in SHIPPED for note in load(path, registry()).notes] == []


def test_no_former_name_is_a_name_of_today() -> None:
    former = [name for step in registry().values() for name in step.formerly]
    assert len(former) == len(set(former))
    assert not set(former) & set(registry())


def test_a_title_says_what_the_parameters_make_of_the_step() -> None:
    launch = load(places.shipped("playbooks") / "launch.yaml", registry())
    teardown = load(places.shipped("playbooks") / "teardown.yaml", registry())
    assert [planned.title for planned in launch.steps if planned.step.name == "containers"] == [
        "Start the head's container",
        "Start the workers' containers",
    ]
    titles = {planned.step.name: planned.title for planned in teardown.steps}
    assert titles["containers"] == "Remove the containers"
    assert titles["launch-snapshot"] == "Restore the host's state from before the launch"


@pytest.mark.parametrize("name", registry())
def test_every_state_that_a_step_knows_has_a_title(name: str) -> None:
    step = registry()[name]
    field = step.params.model_fields.get("state")
    if step.titled is None or field is None:
        return
    titles = {step.titled(step.params.model_construct(**{**_defaults(step), "state": state}))
              for state in field.annotation.__args__}  # fmt: skip
    assert all(titles)
    assert len(titles) > 1


def _defaults(step: Any) -> dict[str, Any]:
    return {name: field.default for name, field in step.params.model_fields.items()}


# A playbook that is not the one that ships


def _own(name: str, *without: str) -> Path:
    """A playbook in the current folder: ours, but for some steps."""
    text = (places.shipped("playbooks") / f"{name}.yaml").read_text()
    head, *steps = text.split("\n  - step: ")
    kept = [step for step in steps if step.split()[0] not in without]
    assert len(kept) < len(steps) or not without
    return write(Path("playbooks") / f"{name}.yaml", "\n  - step: ".join([head, *kept]))


USES = "note                   uses the playbook playbooks/{}, which is not the one that ships"


def test_every_run_names_a_playbook_that_is_not_ours(cli: Cli) -> None:
    hosts = [Spark("spark-1"), Spark("spark-2"), Spark("spark-3")]
    ours = cli("bootstrap", "-i", world.INVENTORY, hosts=hosts)
    assert "uses the playbook" not in ours.out
    _own("bootstrap")
    for words in (("bootstrap",), ("bootstrap", "--dry-run"), ("plan", "bootstrap")):
        said = cli(*words, "-i", world.INVENTORY, hosts=hosts)
        assert said.code == 0
        assert USES.format("bootstrap.yaml") in said.out
    told = cli("bootstrap", "--json", "-i", world.INVENTORY, hosts=hosts).lines
    notes = [line["message"] for line in told if line["kind"] == "note"]
    assert any("uses the playbook playbooks/bootstrap.yaml" in note for note in notes)


@pytest.mark.parametrize(
    ("without", "state", "proofs"),
    [
        (("rdma-verdict",), "ready, but not verified", ["that its tokens travel by RDMA"]),
        (("canary",), "started, but not verified", ["that the server gives a token"]),
        (
            ("canary", "rdma-verdict"),
            "started, but not verified",
            ["that the server gives a token", "that its tokens travel by RDMA"],
        ),
        (
            ("ready", "canary", "rdma-verdict"),
            "started, but not verified",
            ["that the model is loaded and the server answers"],
        ),
    ],
)
def test_a_launch_says_what_its_playbook_did_not_verify(
    cli: Cli, without: tuple[str, ...], state: str, proofs: list[str]
) -> None:
    _own("launch", *without)
    hosts = [launching("spark-2"), launching("spark-3")]
    said = cli("launch", "qwen3-vl-235b", "-i", world.INVENTORY, hosts=hosts)
    assert said.code == 0
    assert f"qwen3-vl-235b is {state}: http://" in said.out
    assert "is ready:" not in said.out
    for proof in proofs:
        assert f"not verified: {proof}; the playbook has no step" in said.out
    hosts = [launching("spark-2"), launching("spark-3")]
    told = cli("launch", "qwen3-vl-235b", "--json", "-i", world.INVENTORY, hosts=hosts)
    assert told.data["not_verified"] == list(without)


def test_a_launch_by_our_playbook_has_verified_all(cli: Cli) -> None:
    hosts = [launching("spark-2"), launching("spark-3")]
    said = cli("launch", "qwen3-vl-235b", "--json", "-i", world.INVENTORY, hosts=hosts)
    assert said.data["not_verified"] == []


@pytest.mark.parametrize(
    ("words", "playbook", "step"),
    [
        (("teardown",), "teardown", "teardown-check"),
        (("teardown", "--force"), "teardown", "teardown-check"),
        (("plan", "teardown"), "teardown", "containers"),
        (("verify-rdma",), "verify-rdma", "rdma-verdict"),
        (("verify-rdma", "--tokens", "8"), "verify-rdma", "rdma-verdict"),
    ],
)
def test_a_verb_says_which_step_it_needs(
    cli: Cli, words: tuple[str, ...], playbook: str, step: str
) -> None:
    if playbook == "verify-rdma":
        text = "name: verify-rdma\ntitle: V\nsteps:\n  - step: rdma-devices\n"
        write(Path("playbooks/verify-rdma.yaml"), text)
    else:
        _own(playbook, step)
    said = cli(*words, "-i", world.INVENTORY, hosts=[Spark("spark-2"), Spark("spark-3")])
    assert said.code == 2
    assert f"{playbook} needs the step {step}, and this playbook has none" in said.err
    assert f"playbooks/{playbook}.yaml:" in said.err
    assert f"Add `- step: {step}`" in said.err


def test_a_teardown_may_call_its_last_look_by_the_former_name(cli: Cli) -> None:
    path = _own("teardown")
    path.write_text(path.read_text().replace("teardown-check", "gone"))
    hosts = [Spark("spark-2"), Spark("spark-3")]
    said = cli("teardown", "--hosts", "spark-2,spark-3", "-i", world.INVENTORY, hosts=hosts)
    assert said.code == 0
    assert "the step gone is now called teardown-check" in said.out


def test_a_repair_that_the_playbook_does_not_know_is_told(cli: Cli) -> None:
    _own("bootstrap", "swap", "memlock")
    hosts = [unlimited("spark-2")]
    said = cli("doctor", "--fix", "--hosts", "spark-2", "-i", world.INVENTORY, hosts=hosts)
    assert "not repaired: the playbook has no step" in said.out
