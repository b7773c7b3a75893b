"""One file per step: facts and a wanted state in, a difference and commands out. All pure.

To add a step: a function under `@step` (base.py) in a file here, its cases in
tests/unit/steps/cases/.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from spark_cluster.core.step import AnyStep, Step


def steps_of(module: ModuleType) -> list[AnyStep]:
    """The steps of a file, in the order in which it has them."""
    return [each for each in vars(module).values() if isinstance(each, Step)]


def registry() -> dict[str, AnyStep]:
    """Every step by the name that playbooks use."""
    modules = [import_module(f"{__name__}.{each.name}") for each in iter_modules(__path__)]
    return {step.name: step for module in modules for step in steps_of(module)}
