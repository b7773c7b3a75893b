"""A recipe of another tool while it is read: its fields, its refusals, its notes, its places."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from spark_cluster.core.error import InputError
from spark_cluster.document import Source, suggest
from spark_cluster.recipes.command_line import LEVEL
from spark_cluster.recipes.foreign.formats import Format
from spark_cluster.recipes.foreign.template import BadTemplate
from spark_cluster.recipes.lint_versions import vllm

Loc = tuple[str | int, ...]


class Theirs:
    """The fields of the file, each read with its type. Every fault is an InputError with file,
    line and field."""

    def __init__(self, source: Source, tool: str) -> None:
        self.source = source
        self.tool = tool
        self.data: dict[str, Any] = source.data
        self._notes: list[str] = []

    def refuse(self, loc: Loc, message: str, remedy: str) -> InputError:
        """An error at `loc`: what spark-cluster cannot do, and what to do about it."""
        return self.source.error(loc, message, remedy)

    def refuse_template(self, loc: Loc, bad: BadTemplate) -> InputError:
        """An error of the template at `loc`, or of a default that was put in there, at its own
        line."""
        error = self.refuse(loc, str(bad), bad.remedy)
        if bad.line is not None:
            error.place = f"{self.source.path}:{self._line_of(loc, bad.line)}"
        elif bad.part:
            error.place = self._place_of(loc, bad.part)
        return error

    def _line_of(self, loc: Loc, number: int) -> int:
        """The file's line of a text's line: its own in a literal block, else that of its name."""
        text = self.data.get(str(loc[0]))
        wanted = str(text).splitlines()[number : number + 1]
        first = _line(self.source.place(loc))
        lines = _file_lines(self.source.path)
        candidates = [first + 1 + number, *range(first, len(lines) + 1)]
        found = (
            line
            for line in candidates
            if 0 < line <= len(lines) and [lines[line - 1].strip()] == [w.strip() for w in wanted]
        )
        return next(found, first)

    def _place_of(self, loc: Loc, part: str) -> str:
        """Where `part` stands: in a default that the field puts in, in the field, else the field
        itself."""
        text = str(self.data.get(str(loc[0])))
        for key, value in self.mapping("defaults").items():
            if part in str(value) and f"{{{key}}}" in text:
                return self.source.place(("defaults", key))
        if part not in text:
            return self.source.place(loc)
        number = text[: text.index(part)].count("\n")
        return f"{self.source.path}:{self._line_of(loc, number)}"

    def refuse_argument(self, name: str, message: str, remedy: str) -> InputError:
        """An error of an argument of the server: at the default that it comes from, or at the
        command."""
        loc = _origin(("args", name), self.data)
        return self.refuse(loc, message if loc[0] == "defaults" else f"{name}: {message}", remedy)

    def remark(self, text: str) -> None:
        """Something that is left out without harm, or has a condition; `recipes show` prints it."""
        self._notes.append(text)

    def note(self) -> str:
        return " ".join([f"Read from a recipe of {self.tool}.", *self._notes])

    def only(self, known: Format) -> None:
        """Refuse a field that the format does not know, or that we cannot honour."""
        for name in self.data:
            if name in known.passed_over:
                self.remark(f"{name} has no effect: {self.tool} does not read it either.")
            elif name not in known.fields:
                near = suggest(str(name), list(known.fields), "fields")
                raise self.refuse(
                    (str(name),),
                    f"{self.tool} has no such field, or it is too new",
                    f"Remove it if it does not matter. {near}",
                )
        for name, refusal in known.refused.items():
            if self.data.get(name):
                raise self.refuse((name,), refusal.message, refusal.remedy)

    def text(self, name: str, default: str | None = None) -> str:
        """A text; without a `default` it must be there."""
        value = self.data.get(name)
        if value is None or value == "":
            if default is None:
                raise self.refuse((name,), "the field is missing", f"Add `{name}:`.")
            return default
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise self.refuse((name,), "must be a text", f"The value there is {value!r}.")
        return str(value)

    def flag(self, name: str) -> bool:
        value = self.data.get(name, False)
        if not isinstance(value, bool):
            raise self.refuse((name,), "must be true or false", f"The value there is {value!r}.")
        return value

    def count(self, name: str) -> int | None:
        value = self.data.get(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.refuse((name,), "must be a count", f"The value there is {value!r}.")
        return value

    def mapping(self, name: str) -> dict[str, Any]:
        value = self.data.get(name)
        if value is None or value == []:
            return {}
        if not isinstance(value, dict):
            raise self.refuse((name,), "must hold fields", f"The value there is {value!r}.")
        return {str(key): inner for key, inner in value.items()}

    def mods(self) -> dict[str, Any]:
        """Scripts that change the image; `mods/` before a name means nothing."""
        given = self.data.get("mods") or []
        if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
            remedy = f"The value there is {given!r}."
            raise self.refuse(("mods",), "must be a list of names", remedy)
        return {"mods": [name.removeprefix("mods/") for name in given]} if given else {}

    def hosts(self) -> tuple[int, int]:
        """The fewest and the most hosts that the recipe allows."""
        mode = self.text("mode", "auto")
        if mode not in ("auto", "solo", "cluster"):
            raise self.refuse(("mode",), f"{mode!r} is no mode", "auto, solo or cluster.")
        least, most = self.count("min_nodes") or 1, self.count("max_nodes") or 8
        if self.flag("cluster_only") or mode == "cluster":
            least = max(least, 2)
        if self.flag("solo_only") or mode == "solo":
            most = 1
        return least, most

    def defaults(self) -> dict[str, Any]:
        """The values for the command, each a single one. A list or a mapping would reach the
        engine in Python's notation: refused."""
        found = self.mapping("defaults")
        for key, value in found.items():
            if isinstance(value, list | dict):
                raise self.refuse(
                    ("defaults", key),
                    f"holds {'a list' if isinstance(value, list) else 'fields'}, and an argument "
                    f"takes one text",
                    f"Write it as the engine reads it, in quotes; the value there is {value!r}.",
                )
        return found

    def title(self) -> str:
        given = self.data.get("description") or self.mapping("metadata").get("description")
        return str(given or self.data.get("name") or self.source.path.stem).strip()

    def name(self) -> str:
        """The file's name as a recipe's name of ours."""
        slug = re.sub(r"[^a-z0-9._-]+", "-", self.source.path.stem.lower())
        return slug.lstrip("._-") or "recipe"


def _line(place: str) -> int:
    return int(place.rpartition(":")[2])


def _file_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


class Adopted(Source):
    """The recipe as ours; a fault in it is placed where the file, one of `tool`, has what it came
    from."""

    def __init__(self, source: Source, data: dict[str, Any], tool: str) -> None:
        super().__init__(source.path, data, None)
        self._source = source
        self.tool = tool

    def place(self, loc: Loc) -> str:
        origin = _origin(loc, self._source.data)
        place = self._source.place(origin)
        if origin != ("command",) or loc[:1] != ("args",) or len(loc) < 2:
            return place
        line = _argument_line(_file_lines(self.path), _line(place), str(loc[1]))
        return f"{self.path}:{line}"


def _argument_line(lines: list[str], first: int, name: str) -> int:
    """The line from `first` on in which the command has the argument; `first` if none has it."""
    spellings = [rf"--{re.escape(name)}".replace("\\-", "[-_]")]
    first_part = name.partition(".")[0]
    known = vllm().short_names
    spellings += [re.escape(short) for short, long in known.items() if long == first_part]
    spellings += [r"-O=?\w*"] if name == LEVEL else []
    pattern = re.compile(rf"(^|\s)({'|'.join(spellings)})(?![\w-])")
    found = (number for number in range(first, len(lines) + 1) if pattern.search(lines[number - 1]))
    return next(found, first)


#: sparkrun's defaults, by the names that SGLang and TensorRT-LLM have for them.
_DEFAULTS = {
    "tp": "tensor_parallel",
    "pp": "pipeline_parallel",
    "mem_fraction_static": "gpu_memory_utilization",
    "context_length": "max_model_len",
    "max_seq_len": "max_model_len",
    "max_running_requests": "max_num_seqs",
}


def _origin(loc: Loc, data: dict[str, Any]) -> Loc:
    field, rest = (loc[0], loc[1:]) if loc else ("", ())
    if field == "args":
        key = str(rest[0]).replace("-", "_").removesuffix("_size") if rest else ""
        defaults = data.get("defaults") or {}
        known = (one for one in (key, _DEFAULTS.get(key)) if one in defaults)
        found = next(known, None)
        return ("command",) if found is None else ("defaults", found)
    if field == "env":
        return loc if loc[-1] in (data.get("env") or {}) else ("env",)
    origins: dict[str | int, Loc] = {
        "image": ("container",),
        "engine": ("runtime",) if "runtime" in data else ("command",),
        "engine_version": ("runtime_version",) if "runtime_version" in data else ("container",),
        "nodes": ("min_nodes",) if "min_nodes" in data else ("defaults", "tensor_parallel"),
        "port": ("defaults", "port"),
        "shm_size": ("executor_config", "shm_size"),
        "title": ("name",),
        "served_name": ("defaults", "served_model_name"),
    }
    return origins.get(field, loc)
