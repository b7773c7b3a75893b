"""Find, read and check a playbook; bind its lines to the steps of the registry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from pydantic import BaseModel

from spark_cluster import places
from spark_cluster.bounded_yaml import LOADER_FAULTS
from spark_cluster.bounded_yaml import load as load_yaml
from spark_cluster.core.error import InputError
from spark_cluster.core.plan import Override, PlannedStep
from spark_cluster.core.step import AnyStep
from spark_cluster.document import Source, read, suggest, validate, validate_data
from spark_cluster.playbook.models import Playbook


@dataclass(frozen=True)
class BoundPlaybook:
    """A playbook whose steps and parameters are known to be right. `notes` tell where it is, if it
    is not the one that ships, and what of it will not work in a later release."""

    path: Path
    name: str
    title: str
    steps: tuple[PlannedStep, ...]
    notes: tuple[str, ...] = ()

    def lacks(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of the steps that are not in it."""
        there = {planned.step.name for planned in self.steps}
        return tuple(name for name in names if name not in there)


#: What a verb sets, or `step.parameter=value` as the user types it.
Setting = str | Override


def find(name: str) -> Path:
    """The file of the playbook `name`. Raises InputError when there is none."""
    folders = places.search_path("playbooks")
    for folder in folders:
        path = folder / f"{name}.yaml"
        if path.is_file():
            return path
    known = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
    raise InputError(f"there is no playbook {name!r}", remedy=suggest(name, known, "playbooks"))


def load(
    path: Path,
    registry: Mapping[str, AnyStep],
    settings: Sequence[Setting] = (),
    needs: Sequence[str] = (),
) -> BoundPlaybook:
    """Read and bind. `settings` are what the verb sets and `step.parameter=value` of the command
    line; they win over the file, and the last of them over the others. A step
    may be called by a name that it had before, which is noted. So is a file that is not ours.
    `needs` are steps without which the verb cannot say what it says at its end.

    Raises InputError with file, line and field.
    """
    source = read(path)
    playbook = validate(source, Playbook)
    names = _Names(registry)
    used = [names.current(line.step, source.place(("steps", index, "step")))
            for index, line in enumerate(playbook.steps)]  # fmt: skip
    for name in needs:
        if name not in used:
            raise source.error(
                ("steps",),
                f"{playbook.name} needs the step {name}, and this playbook has none",
                f"Add `- step: {name}`; the playbook that ships has it: {_shipped(path.name)}",
            )
    overrides = _parse_settings(settings, playbook.name, used, names)
    steps = []
    for index, (name, line) in enumerate(zip(used, playbook.steps, strict=True)):
        step = registry.get(name)
        if step is None:
            raise source.error(
                ("steps", index, "step"),
                f"there is no step {line.step!r}",
                suggest(line.step, list(registry), "steps"),
            )
        settings_here = overrides.get(name, {})
        params = _params(source, index, step, line.parameters, settings_here)
        steps.append(PlannedStep(index, step, params))
    notes = [*_foreign(path), *names.notes]
    return BoundPlaybook(path, playbook.name, playbook.title, tuple(steps), tuple(notes))


def _foreign(path: Path) -> list[str]:
    """Which playbook is used, if it is not the one that ships."""
    if path.resolve() == _shipped(path.name).resolve():
        return []
    return [f"uses the playbook {places.short(path)}, which is not the one that ships"]


def _shipped(name: str) -> Path:
    return places.shipped("playbooks") / name


class _Names:
    """The steps' names, old and new; `notes` tell of the old ones that were used."""

    def __init__(self, registry: Mapping[str, AnyStep]) -> None:
        self._renamed = {old: step.name for step in registry.values() for old in step.formerly}
        self.notes: list[str] = []

    def current(self, name: str, place: str) -> str:
        """The step's name of today; `place` is where it is written."""
        now = self._renamed.get(name)
        if now is None:
            return name
        note = f"{place}: the step {name} is now called {now}; the next release knows only that"
        self.notes.append(note)
        return now


class _WithSettings(Source):
    """The playbook, and what is set over it: a fault of that is told by what was typed."""

    def __init__(self, below: Source, settings: Mapping[str, Override]) -> None:
        super().__init__(below.path, below.data, below._root)
        self._settings = settings

    def error(self, loc: tuple[str | int, ...], message: str, remedy: str) -> InputError:
        setting = self._settings.get(str(loc[3])) if len(loc) > 3 else None
        if setting is None:
            return super().error(loc, message, remedy)
        return InputError(f"{_said(setting)}: {message}", remedy=remedy)


def _said(setting: Override) -> str:
    return setting.typed or f"{setting.step}.{setting.parameter}"


def _params(
    source: Source,
    index: int,
    step: AnyStep,
    written: Mapping[str, object],
    settings: Mapping[str, Override],
) -> BaseModel:
    given = {**written, **{name: setting.value for name, setting in settings.items()}}
    with_settings = _WithSettings(source, settings)
    at = ("steps", index, "with")
    params: BaseModel = validate_data(with_settings, step.params, given, at=at)
    return params


def _parse_settings(
    settings: Sequence[Setting], playbook: str, used: Sequence[str], names: _Names
) -> dict[str, dict[str, Override]]:
    overrides: dict[str, dict[str, Override]] = {}
    known = sorted(set(used))
    for setting in settings:
        given = setting if isinstance(setting, Override) else _override(setting)
        said = f"--set {setting}" if given is not setting else _said(given)
        step = names.current(given.step, said)
        if step not in known:
            raise InputError(
                f"{said}: the playbook {playbook} has no step {step!r}",
                remedy=suggest(step, known, "steps"),
            )
        overrides.setdefault(step, {})[given.parameter] = replace(given, step=step)
    return overrides


def _override(setting: str) -> Override:
    """`step.parameter=value`. Raises InputError."""
    target, equals, value = setting.partition("=")
    step, dot, parameter = target.partition(".")
    if not (equals and dot and parameter):
        raise InputError(
            f"--set {setting}: not of the form STEP.PARAMETER=VALUE",
            remedy="For example --set swap.at_boot=off.",
        )
    return Override(step, parameter, _scalar(setting, value), typed=f"--set {step}.{parameter}")


def _scalar(setting: str, value: str) -> object:
    """The value as YAML reads it, except that on, off, yes and no stay the words they are."""
    if value.lower() in ("on", "off", "yes", "no"):
        return value
    try:
        return load_yaml(value)
    except (yaml.YAMLError, *LOADER_FAULTS) as error:
        raise InputError(
            f"--set {setting}: {value!r} is no YAML value", remedy="Quote it."
        ) from error
