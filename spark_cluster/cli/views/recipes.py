"""How recipes, sums and findings are printed. Lines in, nothing read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from spark_cluster.cli.views.fit import nominal
from spark_cluster.core.error import InputError
from spark_cluster.core.shell import quote
from spark_cluster.core.units import count
from spark_cluster.places import shipped, short
from spark_cluster.recipes.fit import Fit
from spark_cluster.recipes.lint_finding import Finding
from spark_cluster.recipes.models import Choice, Overlay, Recipe
from spark_cluster.recipes.secret_names import masked

FIT_EXIT = {"fits": 0, "tight": 0, "no": 4, "unknown": 3}

_WORDS = {"fits": "fits", "tight": "tight", "no": "does not fit", "unknown": "not known"}


def _verdict(recipe: Recipe) -> str:
    try:
        return nominal(recipe).verdict
    except InputError:
        return "unknown"


def summary(recipe: Recipe) -> dict[str, object]:
    return {
        "name": recipe.name,
        "title": recipe.title,
        "engine": recipe.engine,
        "model": recipe.model,
        "nodes": recipe.nodes,
        "fits": _verdict(recipe),
        "known_broken": bool(recipe.known_broken),
        "path": str(recipe.path),
        "extends": recipe.extends,
    }


def listed(recipes: Sequence[Recipe]) -> Iterator[str]:
    """A line a recipe; one more says where the user's own are, and what they extend."""
    ours = (shipped("playbooks") / "recipes").resolve()
    width = max((len(recipe.name) for recipe in recipes), default=0)
    for recipe in recipes:
        said = "known broken" if recipe.known_broken else _WORDS[_verdict(recipe)]
        hosts = count(recipe.nodes, "host")
        yield f"{recipe.name:<{width}}  {hosts:<7}  {recipe.engine:<8}  {said:<12}  {recipe.title}"
        if recipe.path.parent.resolve() != ours:
            extends = f" extends {recipe.extends}" if recipe.extends else ""
            yield f"{'':<{width}}  {short(recipe.path)}{extends}"


def faults(broken: Mapping[str, InputError]) -> Iterator[str]:
    """Two lines for each recipe that cannot be read."""
    for name, error in broken.items():
        yield f"{name}: cannot be read: {_short(error.place or '')}: {error.message}"
        yield f"  next: {error.remedy}"


def shown(recipe: Recipe) -> Iterator[str]:
    """All of a recipe but its secrets."""
    recipe = masked(recipe)
    yield f"{recipe.name}: {recipe.title}"
    yield from (f"  file     {short(path)}" for path in recipe.chain)
    if recipe.known_broken:
        yield f"  broken   known not to work: {recipe.known_broken}"
    if recipe.note:
        yield f"  note     {recipe.note}"
    yield f"  image    {recipe.image} ({recipe.engine} {recipe.engine_version})"
    served = f", served as {recipe.served_name}" if recipe.served_name else ""
    yield f"  model    {recipe.model}{served}"
    yield (
        f"  needs    {count(recipe.nodes, 'host')}, {recipe.requires.memory_gib:g} GiB memory and "
        f"{recipe.requires.disk_gib:g} GiB disk on each, {recipe.rails} rail"
    )
    yield f"  fits     {_WORDS[_verdict(recipe)]} (spark-cluster recipes fit {quote(recipe.asked)})"
    for title, choices in (("arguments", recipe.args), ("environment", recipe.env)):
        if choices:
            yield f"  {title}"
        yield from _choices(choices, "--" if title == "arguments" else "")
    if recipe.secrets:
        where = f"your environment, or {recipe.secrets_file} on the host"
        yield f"  secrets  {', '.join(recipe.secrets)} (from {where})"
    for file in recipe.files:
        yield f"  mounts   {file.target}"
        yield f"        {file.why}"
    yield from _overlays("profile", recipe.profiles)
    yield from _overlays("option", recipe.options)
    for seen in recipe.measured:
        yield f"  measured {seen.what}: {seen.value} ({seen.where})"


def _choices(choices: Mapping[str, Choice], prefix: str) -> Iterator[str]:
    for key, choice in choices.items():
        value = "" if choice.value is True and prefix else f" {choice.text}"
        yield f"    {prefix}{key}{' left out' if choice.value is None else value}"
        if choice.why:
            yield f"        {choice.why}"


def _overlays(kind: str, overlays: Mapping[str, Overlay]) -> Iterator[str]:
    for name, overlay in overlays.items():
        yield f"  {kind:<8} {name}: {overlay.why}"
        if overlay.rails:
            yield f"    rails {overlay.rails}"
        yield from _choices(overlay.args, "--")
        yield from _choices(overlay.env, "")


# The sum


def fit_data(recipe: Recipe, fit: Fit, hosts: Sequence[str]) -> dict[str, object]:
    code = FIT_EXIT[fit.verdict]
    return {"recipe": recipe.name, "hosts": list(hosts), **asdict(fit), "exit_code": code}


def fitted(recipe: Recipe, fit: Fit, *, is_nominal: bool) -> Iterator[str]:
    """The verdict, the sum, and what to do."""
    hosts = f"on {count(recipe.nodes, 'host')}"
    yield f"{recipe.name}: {_WORDS[fit.verdict]} {hosts}"
    left = max((len(line.what) for line in fit.lines), default=0)
    right = max((len(line.value) for line in fit.lines), default=0)
    for line in fit.lines:
        yield f"  {line.what:<{left}}  {line.value:>{right}}  {line.how}".rstrip()
    for kind, problems in (("error", fit.problems), ("warning", fit.warnings)):
        for problem in problems:
            yield f"{kind}: {problem.what}"
            yield f"  next: {problem.remedy}"
            yield f"  more: spark-cluster explain {problem.code}"
    yield from (f"note: {note}" for note in fit.notes)
    if is_nominal:
        yield "note: From nominal numbers; --hosts GROUP reads memory, weights and config.json."


# Findings


def finding_data(name: str, place: str, finding: Finding) -> dict[str, object]:
    return {"recipe": name, "place": place, **asdict(finding)}


def linted(names: Sequence[str], found: Sequence[tuple[str, str, Finding]]) -> Iterator[str]:
    """Each finding with its place, and the number of them."""
    for _, place, finding in found:
        field = ".".join(str(part) for part in finding.loc)
        yield f"{finding.severity:<7}  {finding.code}  {_short(place)}" + (
            f"  {field}" if field else ""
        )
        yield f"         {finding.what}"
        yield f"         next: {finding.remedy}"
        if finding.source:
            yield f"         seen: {finding.source}"
    errors = sum(finding.is_error for _, _, finding in found)
    warnings = len(found) - errors
    yield (
        f"lint: {count(len(names), 'recipe')}, {count(errors, 'error')}, "
        f"{count(warnings, 'warning')}"
    )


def _short(place: str) -> str:
    from pathlib import Path

    path, colon, line = place.rpartition(":")
    return f"{short(Path(path))}:{line}" if colon and line.isdigit() else place
