"""A recipe launched and measured as it is, then with a change: which serves better."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from spark_cluster.actions import bench
from spark_cluster.actions.bench_kept import Finished
from spark_cluster.actions.checking import obstacles
from spark_cluster.actions.deploying import Choices, load_recipe
from spark_cluster.actions.installed import look
from spark_cluster.actions.launch import LaunchOutcome, Serving, launch, launch_request
from spark_cluster.actions.operator import Operator
from spark_cluster.actions.teardown import may_launch, take_down, teardown_request
from spark_cluster.bench import ab, files
from spark_cluster.bench.compare import Comparison, compare
from spark_cluster.bench.plan import Settings
from spark_cluster.core.error import CheckFailed, InputError, Interrupted, SparkError, StepFailed
from spark_cluster.core.event import Event
from spark_cluster.core.result import exit_code
from spark_cluster.core.shell import quote
from spark_cluster.inventory.models import Inventory
from spark_cluster.places import short
from spark_cluster.recipes import overlay
from spark_cluster.recipes.models import Measured, Recipe
from spark_cluster.recipes.overrides import UNCHANGED, Overrides
from spark_cluster.runner.request import RunRequest
from spark_cluster.steps.rdma_verdict import rdma_verdict
from spark_cluster.workload.launched import launched

Letter = Literal["A", "B"]


@dataclass(frozen=True)
class Change:
    """What B has beside A: options of the recipe, and overrides over them."""

    options: tuple[str, ...] = ()
    overrides: Overrides = UNCHANGED

    @property
    def words(self) -> tuple[str, ...]:
        """The options of `launch` that ask for it."""
        named = (word for name in self.options for word in ("--with", name))
        return (*named, *self.overrides.words())


@dataclass(frozen=True)
class AskAb:
    """`choices` are those of both sides; `load` is measured on each, its recipe, inventory, hosts
    and run left open; `keep`: write B down as a recipe if it is better."""

    recipe: str
    choices: Choices
    change: Change
    load: bench.Ask
    keep: bool = False


@dataclass(frozen=True)
class SideStarted(Event):
    """A side is launched now; `words` are what `launch RECIPE` gets beside."""

    kind: str = field(default="ab_side", init=False)
    side: Letter
    recipe: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class SideMeasured:
    """`verdict` and its diagnosis `code` as the launch came to it, None on one host; `file` holds
    the results."""

    side: Letter
    words: tuple[str, ...]
    verdict: str | None
    code: str | None
    file: str
    has_failures: bool


@dataclass(frozen=True)
class AbEnded(Event):
    """Both sides beside each other. `kept` is the recipe that was written down and `kept_file` its
    file; `not_kept` says why there is none though one was asked for. `endpoint`: where B serves on.

    The exit code is 4 if a side's verdict is not rdma, 1 if a request failed or the recipe that was
    to be kept could not be written, else 0.
    """

    kind: str = field(default="ab", init=False)
    recipe: str
    sides: tuple[SideMeasured, ...]
    comparison: Comparison
    better: ab.Better
    endpoint: str
    exit_code: int
    kept: str | None = None
    kept_file: str | None = None
    not_kept: str | None = None


@dataclass(frozen=True)
class _Planned:
    """A side that can be launched."""

    side: Letter
    name: str
    words: tuple[str, ...]
    recipe: Recipe
    request: RunRequest

    @property
    def command(self) -> str:
        return " ".join(("spark-cluster launch", *map(quote, (self.name, *self.words))))


@dataclass
class _Way:
    """How far it came: `doing` is what an error interrupts, `files` the results so far."""

    name: str
    doing: str = ""
    side: _Planned | None = None
    files: dict[Letter, str] = field(default_factory=dict)

    def hears(self, event: Event) -> None:
        if isinstance(event, Finished) and self.side is not None:
            self.files[self.side.side] = event.file

    def left(self) -> str:
        """What runs now, and what to do."""
        said = [f"{side}'s results are in {short(Path(path).absolute())}."
                for side, path in self.files.items()]  # fmt: skip
        down = f"`spark-cluster teardown {quote(self.name)}` takes it down"
        if self.side is None:
            return " ".join(said)
        if self.doing == "teardown":
            said.append(f"{self.side.side} may still run: {down}.")
            return " ".join(said)
        state = "may be starting" if self.doing == "launch" else "serves on"
        said.append(f"{self.side.side} {state}: `{self.side.command}` follows it, {down}.")
        if self.side.side == "B":
            said.append(
                f"Measure it with `spark-cluster bench sweep {quote(self.name)}` and the same "
                "options, then `spark-cluster bench compare` A's file and B's."
            )
        return " ".join(said)


def measure_ab(inventory: Inventory, ask: AskAb, operator: Operator) -> AbEnded:
    """Launch A, measure, take it down, launch B, measure; B serves on.

    Raises InputError for a change that is none or that the recipe lacks, CheckFailed if the recipe
    runs already or B could not be launched: nothing was changed then. Any later error says what
    runs and where the results so far are.
    """
    one, other = _planned(inventory, ask, operator)
    files.prove(ask.load.output or Path(files.FOLDER))
    way = _Way(ask.recipe)
    load = replace(ask.load, settings=_salted(ask.load))

    def listen(event: Event) -> None:
        way.hears(event)
        operator.listener(event)

    heard = replace(operator, listener=listen)
    with _telling(way):
        first, _ = _side(inventory, one, load, way, heard)
        way.doing = "teardown"
        down = take_down(
            teardown_request(inventory, one.request.hosts, recipe=one.recipe.name), heard
        )
        if not may_launch(one.recipe.name, down.results, heard):
            raise _with_code(
                StepFailed("A is not taken down: B was not launched", remedy="See above."),
                exit_code(list(down.results)),
            )
        second, serving = _side(inventory, other, load, way, heard)
        way.doing = "compare"
        found = compare(files.load(Path(first.file)), files.load(Path(second.file)))
    ended = _ended(ask.recipe, (first, second), found, serving)
    if ask.keep:
        plain = load_recipe(inventory, ask.recipe, Choices(anyway=True))
        ended = _keep(ended, plain, other, ask)
    operator.listener(ended)
    return ended


def _salted(load: bench.Ask) -> Settings:
    """The same prompts for both sides: each begins with an empty prefix cache."""
    return replace(load.settings, salt=load.settings.salt or load.run)


# Before anything is changed


def _planned(inventory: Inventory, ask: AskAb, operator: Operator) -> tuple[_Planned, _Planned]:
    if not ask.change.words:
        raise InputError(
            "nothing says what B changes",
            remedy="Give --option, --arg, --env, --image or --context.",
        )
    changed = replace(
        ask.choices,
        options=(*ask.choices.options, *ask.change.options),
        overrides=ask.change.overrides,
    )

    def planned(side: Letter, choices: Choices, change: Change) -> _Planned:
        recipe = load_recipe(inventory, ask.recipe, choices)
        request = launch_request(inventory, ask.recipe, choices)
        return _Planned(side, ask.recipe, _words(ask.choices, change), recipe, request)

    one, other = planned("A", ask.choices, Change()), planned("B", changed, ask.change)
    if one.recipe.model_dump() == other.recipe.model_dump():
        raise InputError(
            f"{' '.join(ask.change.words)} changes nothing of {ask.recipe}: A and B are the same",
            remedy="Name what B shall have in place of what the recipe has.",
        )
    if ask.keep and not overlay.can_extend(one.recipe):
        raise InputError(
            f"--keep: {ask.recipe} is not in a recipes folder, so that no recipe can extend it",
            place=str(one.recipe.path),
            remedy=f"Copy it to {short(overlay.folder())}/{one.recipe.name}.yaml.",
        )
    _refuse_running(inventory, one.recipe.name, operator)
    lacks = obstacles(other.request, other.request.hosts, operator)
    if lacks:
        raise CheckFailed(
            f"B could not be launched, nothing was changed: {'; '.join(lacks)}",
            remedy=f"Mend that first: `{other.command} --dry-run` looks again.",
        )
    return one, other


def _words(choices: Choices, change: Change) -> tuple[str, ...]:
    group = ("--group", choices.group) if choices.group else ()
    profile = ("--profile", choices.profile) if choices.profile else ()
    options = tuple(word for name in choices.options for word in ("--with", name))
    return (*group, *profile, *options, *change.words)


def _refuse_running(inventory: Inventory, name: str, operator: Operator) -> None:
    """What the user has running shall not be taken down by a measurement."""
    facts, _ = look(inventory, operator)
    there = [each for each in launched(facts) if each.recipe == name and each.running]
    if there:
        raise CheckFailed(
            f"{name} runs already on {', '.join(there[0].group)}: `bench ab` launches both sides "
            "itself and takes A down; nothing was changed",
            remedy=f"`spark-cluster teardown {name}` first.",
        )


# A side


def _side(
    inventory: Inventory, planned: _Planned, load: bench.Ask, way: _Way, operator: Operator
) -> tuple[SideMeasured, Serving]:
    way.side, way.doing = planned, "launch"
    operator.listener(SideStarted(planned.side, planned.name, planned.words))
    outcome = launch(planned.request, planned.name, operator)
    if outcome.serving is None or not _only_unproved(outcome):
        raise _with_code(
            StepFailed(f"{planned.side} was not launched", remedy="See above what stood against."),
            outcome.exit_code or 1,
        )
    way.doing = "measure"
    ask = replace(
        load,
        recipe=planned.name,
        inventory=str(inventory.path),
        hosts=list(planned.request.hosts),
        run=planned.request.run,
    )
    done = bench.measure(ask, operator)
    verdict = outcome.verdict
    measured = SideMeasured(
        planned.side,
        planned.words,
        verdict.kind if verdict else None,
        verdict.code if verdict else None,
        done.file,
        done.has_failures,
    )
    return measured, outcome.serving


def _only_unproved(outcome: LaunchOutcome) -> bool:
    """It serves: a verdict that is not rdma is a result here, and the tokens are counted."""
    return all(result.status.good or result.step == rdma_verdict.name for result in outcome.results)


@contextlib.contextmanager
def _telling(way: _Way) -> Iterator[None]:
    """Errors that say what runs, and where the results so far are."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("stopped", remedy=way.left()) from None
    except SparkError as error:
        error.remedy = f"{error.remedy} {way.left()}".strip()
        raise


def _with_code(error: SparkError, code: int) -> SparkError:
    error.exit_code = code
    return error


# The end


def _ended(
    name: str, sides: tuple[SideMeasured, ...], found: Comparison, serving: Serving
) -> AbEnded:
    proved = all(side.verdict in (None, "rdma") for side in sides)
    code = 4 if not proved else int(any(side.has_failures for side in sides))
    return AbEnded(name, sides, found, ab.better(found), serving.endpoint, code)


def _keep(ended: AbEnded, plain: Recipe, other: _Planned, ask: AskAb) -> AbEnded:
    """B as a recipe of the user's own, or why not."""
    b = ended.sides[1]
    if ended.better != "b":
        return replace(ended, not_kept="B is not better beyond noise")
    if b.verdict not in (None, "rdma"):
        return replace(ended, not_kept=f"B's verdict is {b.verdict}")
    if b.has_failures:
        return replace(ended, not_kept="requests failed on B")
    name = overlay.free_name(_name(plain.name, ask))
    said = f"B / A of tok/s: {ab.ratios(ended.comparison)}"
    where = ", ".join(Path(side.file).name for side in ended.sides)
    text = overlay.overlay(
        plain,
        other.recipe,
        name,
        f"Better than {plain.name} by `bench ab`.",
        (Measured(what=f"{other.command}, against it as it is", value=said, where=where),),
    )
    try:
        path = overlay.write(name, text)
    except OSError as error:
        why = f"{short(overlay.folder())}/{name}.yaml could not be written: {error.strerror}"
        return replace(ended, not_kept=why, exit_code=ended.exit_code or 1)
    return replace(ended, kept=name, kept_file=str(path))


def _name(recipe: str, ask: AskAb) -> str:
    """`qwen3-vl-235b-dual-rail`: the recipe's name with what B changes."""
    overrides = ask.change.overrides
    parts = [*ask.choices.options, *ask.change.options, *overrides.args, *overrides.env]
    parts += ["context"] if overrides.context is not None else []
    parts += ["image"] if overrides.image else []
    words = re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")
    return f"{recipe}-{words}"[:80].rstrip("-")
