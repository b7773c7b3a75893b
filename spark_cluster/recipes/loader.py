"""Find, read and merge recipes. A recipe that `extends` another changes only what it names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spark_cluster import places
from spark_cluster.core.error import InputError
from spark_cluster.document import Source, read, read_text, suggest, validate
from spark_cluster.places import expanded
from spark_cluster.recipes.foreign import adopt
from spark_cluster.recipes.foreign.theirs import Adopted
from spark_cluster.recipes.models import NAME, Recipe, spell, spelled

#: Bytes of a file that ships with a recipe: it travels inside a script.
FILE_LIMIT = 1024 * 1024


def folders() -> list[Path]:
    """Where recipes are looked for, first wins."""
    return [folder / "recipes" for folder in places.search_path("playbooks")]


def known(own: Mapping[str, Path]) -> dict[str, Path]:
    """Every recipe's name and file; `own` are those that the inventory names."""
    found: dict[str, Path] = {}
    for folder in reversed(folders()):
        found.update({path.stem: path for path in sorted(folder.glob("*.yaml"))})
    return {**found, **own}


def own_recipes(inventory_path: Path, named: Mapping[str, str]) -> dict[str, Path]:
    """The inventory's `recipes:`, its paths made absolute."""
    folder = inventory_path.parent
    return {name: folder / expanded(given) for name, given in named.items()}


def load(name: str, own: Mapping[str, Path]) -> Recipe:
    """The recipe `name` (or of the file, if it ends in .yaml), with all that it extends.

    Raises InputError with file, line and field.
    """
    path = expanded(name) if name.endswith((".yaml", ".yml")) else known(own).get(name)
    if path is None:
        raise InputError(
            f"there is no recipe {name!r}",
            remedy=suggest(name, list(known(own)), "recipes"),
        )
    chain = _chain(path.absolute())
    merged: dict[str, Any] = {}
    for source in reversed(chain):
        merged = _merge(merged, _as_choices(source.data))
    files = _files(chain)
    if files:
        merged["files"] = files
    recipe = validate(_Merged(chain, merged), Recipe)
    recipe._chain = tuple(source.path for source in chain)
    recipe._asked = name
    recipe._tool = chain[0].tool if isinstance(chain[0], Adopted) else ""
    _refuse_another_name(recipe, chain[0])
    return recipe


def _refuse_another_name(recipe: Recipe, source: Source) -> None:
    """Recipes of the folders are found by their files' names; lists and labels have `name`."""
    path = recipe.path
    if path.parent not in folders() or recipe.name == path.stem:
        return
    remedy = f"Rename the file to {recipe.name}.yaml."
    if not recipe.tool and re.match(NAME, path.stem):
        remedy = f"Write `name: {path.stem}` there, or r{remedy[1:]}"
    raise source.error(
        ("name",), f"it is {recipe.name}, and the file, by which it is found, {path.name}", remedy
    )


def place(recipe: Recipe, loc: tuple[str | int, ...]) -> str:
    """`file:line` of a field of a loaded recipe, in the nearest file that has it; or the option of
    the command line that gave it."""
    return recipe.typed(loc) or _Merged([adopt(read(path)) for path in recipe.chain], {}).place(loc)


def file_contents(recipe: Recipe) -> dict[str, str]:
    """The text of each of the recipe's files, by its source. Raises InputError."""
    contents: dict[str, str] = {}
    for number, entry in enumerate(recipe.files):
        try:
            text = read_text(Path(entry.source), FILE_LIMIT)
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise InputError(
                f"files[{number}].source: cannot read {entry.source}: {why}",
                place=str(recipe.path),
                remedy="A source is relative to the recipe's own folder.",
            ) from error
        contents[entry.source] = text if text.endswith("\n") else text + "\n"
    return contents


def _chain(path: Path) -> list[Source]:
    sources: list[Source] = []
    while True:
        source = adopt(read(path))
        if any(path == earlier.path for earlier in sources):
            raise source.error(("extends",), "extends itself in a circle", "Break the circle.")
        sources.append(source)
        parent = source.data.get("extends")
        if parent is None:
            return sources
        # Not the inventory's own recipes: one of the same name would extend itself.
        candidates = {name: file for name, file in known({}).items() if file != path}
        beside = path.parent / str(parent)
        if beside.suffix in (".yaml", ".yml") and beside.is_file():
            path = beside.absolute()
            continue
        if str(parent) not in candidates:
            raise source.error(
                ("extends",),
                f"there is no recipe {parent!r}",
                suggest(str(parent), list(candidates), "recipes"),
            )
        path = candidates[str(parent)].absolute()


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`: mappings merge, anything else replaces, null removes."""
    merged = dict(below)
    for key, value in above.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            is_choice = "value" in value or "value" in merged[key]
            merged[key] = value if is_choice else _merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def _as_choices(data: Mapping[str, Any], leave_out: tuple[str, ...] = ("env",)) -> dict[str, Any]:
    """The data of a file with dashes in the names of all arguments, so that one file's go over
    another's however each spells them.

    A null in the fields `leave_out` is the choice to leave something out, and not only the parent's
    choice taken back: the engine would set a variable itself, and a profile goes over the recipe.
    """
    found = dict(data)
    if isinstance(data.get("args"), dict):
        found["args"] = spell({str(name): value for name, value in data["args"].items()})
    for field in leave_out:
        if isinstance(found.get(field), dict):
            found[field] = {
                name: {"value": None} if value is None else value
                for name, value in found[field].items()
            }
    for kind in ("profiles", "options"):
        if isinstance(data.get(kind), dict):
            found[kind] = {
                name: _as_choices(one, ("env", "args")) if isinstance(one, dict) else one
                for name, one in data[kind].items()
            }
    return found


def _written(data: Any, loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """`loc` with the names as `data` spells them."""
    found: list[str | int] = []
    for part in loc:
        if isinstance(data, dict) and part not in data:
            same = (key for key in data if spelled(str(key)) == spelled(str(part)))
            part = next(same, part)
        found.append(part)
        data = data.get(part) if isinstance(data, dict) else None
    return tuple(found)


def _files(chain: list[Source]) -> list[Any]:
    """`files` of the nearest recipe that names any (or null), their sources made absolute."""
    source = next((one for one in chain if "files" in one.data), chain[0])
    entries = source.data.get("files")
    if not isinstance(entries, list):
        return []
    return [_inside(source, number, entry) for number, entry in enumerate(entries)]


def _inside(source: Source, number: int, entry: Any) -> Any:
    """The entry with its source absolute and without links. Raises InputError for one outside the
    recipe's folder: a recipe may come from anyone, and its files are shown and sent."""
    if not isinstance(entry, dict) or not isinstance(entry.get("source"), str):
        return entry
    folder = source.path.parent.resolve()
    try:
        real = (folder / entry["source"]).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise source.error(("files", number, "source"), why, "Name a file there.") from error
    if not real.is_relative_to(folder):
        raise source.error(
            ("files", number, "source"),
            f"{entry['source']} is outside the recipe's folder",
            f"Put the file into {folder} or a folder below it.",
        )
    return {**entry, "source": str(real)}


class _Merged(Source):
    """Places in a merged recipe: the nearest file that has the field, or most of its path."""

    def __init__(self, chain: list[Source], data: Any) -> None:
        super().__init__(chain[0].path, data, None)
        self._sources = chain

    def place(self, loc: tuple[str | int, ...]) -> str:
        nearest = max(
            self._sources, key=lambda source: _depth(source.data, _written(source.data, loc))
        )
        return nearest.place(_written(nearest.data, loc))


def _depth(data: Any, loc: tuple[str | int, ...]) -> int:
    """How many parts of `loc` are there in `data`."""
    for number, part in enumerate(loc):
        is_key = isinstance(data, dict) and part in data
        is_index = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if not (is_key or is_index):
            return number
        data = data[part]
    return len(loc)
