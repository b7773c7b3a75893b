"""A recipe for one host as a docker compose file: what launch would start there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from spark_cluster.actions.deploying import Choices, deploy, lint_notes, load_recipe
from spark_cluster.core.error import InputError
from spark_cluster.engines import compose as writer
from spark_cluster.inventory.models import Inventory
from spark_cluster.runner.journal import new_run


@dataclass(frozen=True)
class ComposeFile:
    """The file's text; `notes` is what lint says of the recipe, a line each."""

    text: str
    notes: tuple[str, ...]

    def write(self, path: Path) -> None:
        """Raises InputError where that cannot be."""
        try:
            path.write_text(self.text, encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"cannot write {path}: {error.strerror}", remedy="Name another file with -o."
            ) from error


def compose(inventory: Inventory, name: str, choices: Choices) -> ComposeFile:
    """Raises InputError for a recipe of several hosts, and for one that lint refuses."""
    recipe = load_recipe(inventory, name, choices)
    writer.refuse_several(recipe.name, recipe.asked, recipe.nodes, str(recipe.path))
    anywhere = replace(choices, hosts=(next(iter(inventory.hosts)),))  # the file names no host
    deployment, _ = deploy(inventory, recipe, anywhere, new_run())
    return ComposeFile(writer.compose(deployment, anyway=choices.anyway), lint_notes(recipe))
