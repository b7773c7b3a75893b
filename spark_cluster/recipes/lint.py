"""Is a recipe sound for its engine's version, and for RDMA between the hosts? Pure.

Rules about versions and single settings are data (vllm.yaml, lint.yaml), the others functions
(lint_rules.py, and lint_arguments.py, lint_images.py for what their names say).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from packaging.version import Version

from spark_cluster.core.error import InputError
from spark_cluster.core.shell import quote
from spark_cluster.recipes.choose import choose
from spark_cluster.recipes.lint_arguments import ARGUMENT_RULES
from spark_cluster.recipes.lint_finding import Finding, Loc, error, value_of, warning
from spark_cluster.recipes.lint_images import IMAGE_RULES
from spark_cluster.recipes.lint_rules import RULES, SECRET_IN_PLAIN
from spark_cluster.recipes.lint_settings import settings
from spark_cluster.recipes.lint_versions import Row, release, vllm
from spark_cluster.recipes.models import Recipe


def lint(recipe: Recipe) -> list[Finding]:
    """What is wrong with the recipe as it stands, errors first."""
    nccl = (settings("nccl"),) if recipe.nodes > 1 else ()
    rules = (*RULES, *ARGUMENT_RULES, *IMAGE_RULES, *nccl)
    found = [*_of_versions(recipe), *(finding for rule in rules for finding in rule(recipe))]
    return sorted(found, key=lambda finding: not finding.is_error)


def lint_overlays(recipe: Recipe) -> list[Finding]:
    """What each profile and each option alone adds to the faults of the recipe."""
    known = {(finding.code, finding.what) for finding in lint(recipe)}
    found: list[Finding] = []
    for kind, overlays in (("profiles", recipe.profiles), ("options", recipe.options)):
        for name in overlays:
            chosen = (
                choose(recipe, profile=name) if kind == "profiles" else choose(recipe, None, [name])
            )
            found += [
                replace(
                    finding,
                    loc=(kind, name, *finding.loc),
                    what=f"{kind[:-1]} {name}: {finding.what}",
                )
                for finding in lint(chosen)
                if (finding.code, finding.what) not in known
            ]
    return found


def refuse(recipe: Recipe, place: Callable[[Loc], str], *, anyway: bool = False) -> None:
    """Raises InputError for the first error of the recipe; `place` gives file and line. With
    `anyway` only for a secret in plain text."""
    errors = [finding for finding in lint(recipe) if finding.is_error]
    if anyway:
        errors = [finding for finding in errors if finding.code == SECRET_IN_PLAIN]
    if not errors:
        return
    first = errors[0]
    check = f"spark-cluster recipes lint {quote(recipe.asked)}"
    more = f" (and {len(errors) - 1} more: `{check}`)" if errors[1:] else ""
    raise InputError(
        first.what + more, place=place(first.loc), remedy=first.remedy, code=first.code
    )


def _of_versions(recipe: Recipe) -> Iterator[Finding]:
    if not recipe.engine.startswith("vllm"):
        return
    version = release(recipe.engine_version)
    if version is None:
        yield warning(
            ("engine_version",),
            "RECIPE006",
            f"{recipe.engine_version!r} is no version: what vLLM knows there is not checked",
            f"{_told_by(recipe)} (`docker run --rm {recipe.image} vllm --version`).",
        )
        return
    for name, row in vllm().rows():
        if value_of((recipe.env if row.kind == "env" else recipe.args).get(name)) is not None:
            yield from _against(name, row, version)


def _told_by(recipe: Recipe) -> str:
    """How a file of its format tells the engine's version."""
    if recipe.tool == "spark-vllm-docker":
        repository = re.sub(r"(:[^/@]*)?(@.*)?$", "", recipe.image, count=1)
        return (
            f"Tag the image with its release of vLLM, such as {repository}:0.26.0, in `container:`"
        )
    if recipe.tool == "sparkrun":
        return (
            "Write `runtime_version:` with the release of vLLM that the image holds, such as 0.11.0"
        )
    return "Write the release of vLLM that the image holds, such as 0.11.0"


def _against(name: str, row: Row, version: Version) -> Iterator[Finding]:
    if row.gone is not None and version >= Version(row.gone):
        when = f"is gone from vLLM {row.gone} on"
    elif row.since is not None and version < Version(row.since):
        when = f"is not in vLLM before {row.since}"
    else:
        return
    remedy = f"Use {row.instead}." if row.instead else f"Remove `{name}` from `{row.kind}:`."
    yield error(
        (row.kind, name),
        "RECIPE003",
        f"{name} {when}, and the recipe has {version}: {row.effect}",
        remedy,
        row.source,
    )
