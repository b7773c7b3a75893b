"""How recipes, sums and findings are printed. Lines in, nothing read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from spark_cluster.actions.recipes import Catalog, FitReport, LintReport, ShownRecipe
from spark_cluster.core.shell import quote
from spark_cluster.core.units import count
from spark_cluster.places import shipped, short
from spark_cluster.recipes.models import Choice, Overlay

_WORDS = {"fits": "fits", "tight": "tight", "no": "does not fit", "unknown": "not known"}


def listed(found: Catalog) -> Iterator[str]:
    """A line a recipe; one more says where the user's own are, and what they extend; two for each
    that cannot be read."""
    ours = (shipped("playbooks") / "recipes").resolve()
    width = max((len(row.name) for row in found.recipes), default=0)
    for row in found.recipes:
        said = "known broken" if row.known_broken else _WORDS[row.fits]
        hosts = count(row.nodes, "host")
        yield f"{row.name:<{width}}  {hosts:<7}  {row.engine:<8}  {said:<12}  {row.title}"
        path = Path(row.path)
        if path.parent.resolve() != ours:
            extends = f" extends {row.extends}" if row.extends else ""
            yield f"{'':<{width}}  {short(path)}{extends}"
    for each in found.broken:
        yield f"{each.name}: cannot be read: {_short(each.error.place or '')}: {each.error.message}"
        yield f"  next: {each.error.remedy}"


def shown(found: ShownRecipe) -> Iterator[str]:
    """All of a recipe but its secrets."""
    recipe = found.recipe
    yield f"{recipe.name}: {recipe.title}"
    yield from (f"  file     {short(path)}" for path in recipe.chain)
    if recipe.known_broken:
        yield f"  broken   known not to work: {recipe.known_broken}"
    if recipe.note:
        yield f"  note     {recipe.note}"
    yield f"  image    {recipe.image} ({recipe.engine} {recipe.engine_version})"
    served = f", served as {recipe.served_name}" if recipe.served_name else ""
    if recipe.image_digest:
        yield f"           {recipe.image_digest}"
    yield f"  model    {recipe.model}{served}"
    yield from (f"  draft    {each.model}, revision {each.revision}" for each in recipe.drafts)
    if recipe.source:
        yield f"  source   {recipe.source}"
    yield f"  ran      {recipe.ran or 'never by this project on a Spark'}"
    yield (
        f"  needs    {count(recipe.nodes, 'host')}, {recipe.requires.memory_gib:g} GiB memory and "
        f"{recipe.requires.disk_gib:g} GiB disk on each, {recipe.rails} rail"
    )
    yield f"  fits     {_WORDS[found.fits]} (spark-cluster recipes fit {quote(recipe.asked)})"
    for title, choices in (("arguments", recipe.args), ("environment", recipe.env)):
        if choices:
            yield f"  {title}"
        yield from _choices(choices, "--" if title == "arguments" else "")
    if recipe.secrets:
        where = f"your environment, or {recipe.secrets_file} on the host"
        yield f"  secrets  {', '.join(recipe.secrets)} (from {where})"
    mounted = [(each.source, each.target, each.why) for each in recipe.files]
    mounted += [(each.source, each.target, each.why) for each in recipe.mounts]
    for source, target, why in mounted:
        yield f"  mounts   {source} at {target}"
        if why:
            yield f"        {why}"
    yield from (f"  keeps    {each}, for each rank" for each in recipe.compile_caches)
    yield from (f"  security {each}" for each in recipe.security)
    if recipe.swap == "on":
        yield "  swap     on"
    for rank, own in sorted(recipe.rank_env.items()):
        yield f"  rank {rank}   environment"
        yield from _choices(own, "")
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


def fitted(report: FitReport) -> Iterator[str]:
    """The verdict, the sum, and what to do."""
    recipe, fit = report.recipe, report.fit
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
    if not report.hosts:
        yield "note: From nominal numbers; --hosts GROUP reads memory, weights and config.json."


# Findings


def linted(report: LintReport) -> Iterator[str]:
    """Each finding with its place, and the number of them."""
    for each in report.findings:
        field = ".".join(str(part) for part in each.loc)
        where = f"{each.severity:<7}  {each.code}  {_short(each.place)}"
        yield f"{where}  {field}" if field else where
        yield f"         {each.what}"
        yield f"         next: {each.remedy}"
        if each.source:
            yield f"         seen: {each.source}"
    warnings = len(report.findings) - report.errors
    yield (
        f"lint: {count(len(report.recipes), 'recipe')}, {count(report.errors, 'error')}, "
        f"{count(warnings, 'warning')}"
    )


def _short(place: str) -> str:
    path, colon, line = place.rpartition(":")
    return f"{short(Path(path))}:{line}" if colon and line.isdigit() else place
