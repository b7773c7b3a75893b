"""Find, read and check a playbook; bind its lines to the steps of the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from spark_cluster import places
from spark_cluster.bounded_yaml import LOADER_FAULTS
from spark_cluster.bounded_yaml import load as load_yaml
from spark_cluster.core.error import InputError
from spark_cluster.core.plan import PlannedStep
from spark_cluster.core.step import Step
from spark_cluster.document import Source, read, suggest, validate, validate_data
from spark_cluster.playbook.models import Playbook


@dataclass(frozen=True)
class BoundPlaybook:
    """A playbook whose steps and parameters are known to be right."""

    path: Path
    name: str
    title: str
    steps: tuple[PlannedStep, ...]


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
    path: Path, registry: Mapping[str, Step[Any]], settings: Sequence[str] = ()
) -> BoundPlaybook:
    """Read and bind. `settings` are `step.parameter=value` of the command line; they win.

    Raises InputError with file, line and field.
    """
    source = read(path)
    playbook = validate(source, Playbook)
    overrides = _parse_settings(settings, playbook)
    steps = []
    for index, line in enumerate(playbook.steps):
        step = registry.get(line.step)
        if step is None:
            raise source.error(
                ("steps", index, "step"),
                f"there is no step {line.step!r}",
                suggest(line.step, list(registry), "steps"),
            )
        settings_here = overrides.get(line.step, {})
        params = _params(source, index, step, line.parameters, settings_here)
        steps.append(PlannedStep(index, step, params))
    return BoundPlaybook(path, playbook.name, playbook.title, tuple(steps))


class _WithSettings(Source):
    """The playbook, and what the command line sets over it: a fault of that names the option."""

    def __init__(self, below: Source, step: str, settings: Mapping[str, Any]) -> None:
        super().__init__(below.path, below.data, below._root)
        self._step = step
        self._settings = settings

    def error(self, loc: tuple[str | int, ...], message: str, remedy: str) -> InputError:
        parameter = str(loc[3]) if len(loc) > 3 else ""
        if parameter not in self._settings:
            return super().error(loc, message, remedy)
        return InputError(f"--set {self._step}.{parameter}: {message}", remedy=remedy)


def _params(
    source: Source,
    index: int,
    step: Step[Any],
    written: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> Any:
    with_settings = _WithSettings(source, step.name, settings)
    at = ("steps", index, "with")
    return validate_data(with_settings, step.params, {**written, **settings}, at=at)


def _parse_settings(settings: Sequence[str], playbook: Playbook) -> dict[str, dict[str, Any]]:
    overrides: dict[str, dict[str, Any]] = {}
    names = sorted({line.step for line in playbook.steps})
    for setting in settings:
        target, equals, value = setting.partition("=")
        step, dot, parameter = target.partition(".")
        if not (equals and dot and parameter):
            raise InputError(
                f"--set {setting}: not of the form STEP.PARAMETER=VALUE",
                remedy="For example --set swap.at_boot=off.",
            )
        if step not in names:
            raise InputError(
                f"--set {setting}: the playbook {playbook.name} has no step {step!r}",
                remedy=suggest(step, names, "steps"),
            )
        overrides.setdefault(step, {})[parameter] = _scalar(setting, value)
    return overrides


def _scalar(setting: str, value: str) -> Any:
    """The value as YAML reads it, except that on, off, yes and no stay the words they are."""
    if value.lower() in ("on", "off", "yes", "no"):
        return value
    try:
        return load_yaml(value)
    except (yaml.YAMLError, *LOADER_FAULTS) as error:
        raise InputError(
            f"--set {setting}: {value!r} is no YAML value", remedy="Quote it."
        ) from error
