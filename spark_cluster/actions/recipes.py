"""What recipes there are, what is in one, whether it fits, and what lint says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypedDict

from spark_cluster.actions.deploying import Choices, load_recipe
from spark_cluster.actions.fit import nominal, on_hosts
from spark_cluster.actions.operator import Operator
from spark_cluster.core.error import InputError, SparkError
from spark_cluster.core.event import Event
from spark_cluster.inventory.models import Inventory
from spark_cluster.recipes import lint as rules
from spark_cluster.recipes import loader
from spark_cluster.recipes.fit import Fit
from spark_cluster.recipes.lint_finding import Finding
from spark_cluster.recipes.lint_finding import error as problem
from spark_cluster.recipes.models import Recipe
from spark_cluster.recipes.secret_names import masked

_FIT_EXIT = {"fits": 0, "tight": 0, "no": 4, "unknown": 3}


@dataclass(frozen=True)
class RecipeRow:
    """A recipe in a list. `fits` on Sparks of the usual size: fits, tight, no or unknown."""

    name: str
    title: str
    engine: str
    model: str
    nodes: int
    fits: str
    known_broken: bool
    path: str
    extends: str | None


@dataclass(frozen=True)
class BrokenRecipe:
    """A recipe that cannot be read."""

    name: str
    path: str
    error: SparkError


@dataclass(frozen=True)
class Catalog(Event):
    """All recipes by name. Exit code 2 if one cannot be read."""

    kind: str = field(default="recipes", init=False)
    recipes: tuple[RecipeRow, ...]
    broken: tuple[BrokenRecipe, ...]

    @property
    def exit_code(self) -> int:
        return 2 if self.broken else 0


class InFile(TypedDict):
    """The file that it stands in."""

    path: str


@dataclass(frozen=True)
class ShownRecipe(Event):
    """A recipe with its secrets blacked out; in JSON its own fields (recipes/models.py), and its
    path."""

    kind: str = field(default="recipe", init=False)
    json_of: ClassVar[tuple[type, ...]] = (Recipe, InFile)
    recipe: Recipe
    fits: str

    def as_dict(self) -> dict[str, Any]:
        shown = self.recipe.model_dump(mode="json")
        return {"kind": self.kind, **shown, "path": str(self.recipe.path)}


class OfRecipe(TypedDict):
    """Which recipe, on which hosts, and the exit code."""

    recipe: str
    hosts: list[str]
    exit_code: int


@dataclass(frozen=True)
class FitReport(Event):
    """The sum of a recipe's memory; in JSON the sum's own fields (recipes/fit.py). Exit code 4 if
    it does not fit, 3 if that is not known. Without `hosts` from nominal numbers."""

    kind: str = field(default="fit", init=False)
    json_of: ClassVar[tuple[type, ...]] = (OfRecipe, Fit)
    recipe: Recipe
    hosts: tuple[str, ...]
    fit: Fit

    @property
    def exit_code(self) -> int:
        return _FIT_EXIT[self.fit.verdict]

    def as_dict(self) -> dict[str, Any]:
        about = {"kind": self.kind, "recipe": self.recipe.name, "hosts": list(self.hosts)}
        return {**about, **asdict(self.fit), "exit_code": self.exit_code}


@dataclass(frozen=True)
class PlacedFinding(Finding):
    """What lint says of a recipe; `place` is file and line."""

    recipe: str = ""
    place: str = ""


@dataclass(frozen=True)
class LintReport(Event):
    """What lint says of the `recipes`; `errors` is their number. Exit code 2 on an error."""

    kind: str = field(default="lint", init=False)
    recipes: tuple[str, ...]
    findings: tuple[PlacedFinding, ...]
    errors: int

    @property
    def exit_code(self) -> int:
        return 2 if self.errors else 0


def catalog(inventory: Inventory) -> Catalog:
    """The recipes that ship and the user's own."""
    own = loader.own_recipes(inventory.path, inventory.recipes)
    known = loader.known(own)
    rows, broken = [], []
    for name in sorted(known):
        try:
            rows.append(_row(loader.load(name, own)))
        except InputError as error:
            broken.append(BrokenRecipe(name, str(known[name]), error))
    return Catalog(tuple(rows), tuple(broken))


def _row(recipe: Recipe) -> RecipeRow:
    return RecipeRow(
        name=recipe.name,
        title=recipe.title,
        engine=recipe.engine,
        model=recipe.model,
        nodes=recipe.nodes,
        fits=_verdict(recipe),
        known_broken=bool(recipe.known_broken),
        path=str(recipe.path),
        extends=recipe.extends,
    )


def _verdict(recipe: Recipe) -> str:
    try:
        return nominal(recipe).verdict
    except InputError:
        return "unknown"


def show(inventory: Inventory, name: str) -> ShownRecipe:
    """Raises InputError."""
    recipe = loader.load(name, loader.own_recipes(inventory.path, inventory.recipes))
    return ShownRecipe(masked(recipe), _verdict(recipe))


def fit(
    inventory: Inventory,
    name: str,
    choices: Choices,
    hosts: Sequence[str],
    operator: Operator,
) -> FitReport:
    """From nominal numbers, or from what these hosts say. Raises InputError and Unreachable."""
    recipe = load_recipe(inventory, name, choices)
    found = on_hosts(inventory, recipe, list(hosts), operator) if hosts else nominal(recipe)
    return FitReport(recipe, tuple(hosts), found)


def lint(inventory: Inventory, names: Sequence[str]) -> LintReport:
    """These recipes, or all. A recipe that cannot be read is one more finding."""
    own = loader.own_recipes(inventory.path, inventory.recipes)
    chosen = tuple(names) or tuple(sorted(loader.known(own)))
    found = tuple(
        PlacedFinding(**vars(finding), recipe=name, place=place)
        for name in chosen
        for place, finding in _linted(name, own)
    )
    return LintReport(chosen, found, sum(each.is_error for each in found))


def _linted(name: str, own: Mapping[str, Path]) -> list[tuple[str, Finding]]:
    try:
        recipe = loader.load(name, own)
    except InputError as error:
        said = problem((), error.code or "RECIPE005", error.message, error.remedy)
        return [(error.place or name, said)]
    found = [*rules.lint(recipe), *rules.lint_overlays(recipe)]
    return [(loader.place(recipe, finding.loc), finding) for finding in found]
