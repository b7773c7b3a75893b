"""Read a YAML file into a model; say file, line, field and what would be right when it is wrong."""

from __future__ import annotations

import difflib
import errno
import os
import reprlib
import stat
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from spark_cluster.bounded_yaml import LOADER_FAULTS, SIZE_LIMIT, parse
from spark_cluster.core.error import InputError

ModelT = TypeVar("ModelT", bound=BaseModel)


class Document(BaseModel):
    """The base of everything that a user writes: unknown fields are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source:
    """A parsed YAML file that still knows on which line each field stands."""

    def __init__(self, path: Path, data: Any, root: yaml.Node | None) -> None:
        self.path = path
        self.data = data
        self._root = root

    def place(self, loc: tuple[str | int, ...]) -> str:
        """`file:line` of the field at `loc`, or of its nearest parent that is there."""
        node = self._root
        line = node.start_mark.line if node else 0
        for part in loc:
            child = _child(node, part)
            if child is None:
                break
            line, node = child
        return f"{self.path}:{line + 1}"

    def error(self, loc: tuple[str | int, ...], message: str, remedy: str) -> InputError:
        """An InputError at `loc`."""
        name = field_name(loc)
        return InputError(
            f"{name}: {message}" if name else message, place=self.place(loc), remedy=remedy
        )


def _child(node: yaml.Node | None, part: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key.start_mark.line, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        value = node.value[part]
        return value.start_mark.line, value
    return None


def field_name(loc: tuple[str | int, ...]) -> str:
    """`hosts.spark-2.rails[0].address`."""
    name = ""
    for part in loc:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else str(part)
    return name


class _Shortened(reprlib.Repr):
    """Of a long value, its beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 120
        self.maxdict = self.maxlist = 6

    def repr_int(self, x: int, level: int) -> str:  # noqa: ARG002
        """Python does not write a number of thousands of digits."""
        return repr(x) if x.bit_length() < 400 else f"a number of {x.bit_length()} bits"


_shortened = _Shortened()

_BEGIN = "Start from the file of the same name that ships with spark-cluster."


def _place_of(error: Exception, path: Path, text: str) -> str:
    position = getattr(error, "position", None)
    return f"{path}:{text.count(chr(10), 0, position) + 1}" if position is not None else str(path)


def read_text(path: Path, limit: int) -> str:
    """The text of a regular file: a pipe would be waited for, a device has no end.

    Raises OSError, also for more than `limit` bytes, and UnicodeDecodeError.
    """
    # Without O_NONBLOCK, opening a pipe waits for its writer.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            kind = "a pipe" if stat.S_ISFIFO(mode) else "a folder" if stat.S_ISDIR(mode) else ""
            raise OSError(errno.EINVAL, f"it is {kind or 'no regular file'}")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit // 1024} KiB")
    return content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")


def read(path: Path, *, begin: str = _BEGIN) -> Source:
    """Parse `path`. Raises InputError when it cannot be read or is no YAML mapping; `begin` says
    what to do about a file without fields."""
    try:
        text = read_text(path, SIZE_LIMIT)
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}", remedy="Check the path and its permissions."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8 text: {error.reason} at byte {error.start}",
            place=f"{path}:{error.object.count(bytes([10]), 0, error.start) + 1}",
            remedy="Save the file as UTF-8.",
        ) from error
    try:
        root, data = parse(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InputError(
            f"not valid YAML: {error.problem or error.context}",
            place=f"{path}:{mark.line + 1}" if mark else str(path),
            remedy="Check the indentation and the quotes at that line.",
        ) from error
    except (yaml.YAMLError, *LOADER_FAULTS) as error:
        raise InputError(
            f"not valid YAML: {error or type(error).__name__}",
            place=_place_of(error, path, text),
            remedy="Write the file again as YAML.",
        ) from error
    if not isinstance(data, dict):
        raise InputError(
            f"the file holds {_kind(data)}, not fields",
            place=f"{path}:{root.start_mark.line + 1 if root else 1}",
            remedy=begin,
        )
    return Source(path, data, root)


def validate(source: Source, model: type[ModelT], *, at: tuple[str | int, ...] = ()) -> ModelT:
    """`source` (or `source.data` below `at`) as `model`. Raises InputError for the first fault."""
    data = source.data
    for part in at:
        data = data[part]
    return validate_data(source, model, data, at=at)


def validate_data(
    source: Source, model: type[ModelT], data: Any, *, at: tuple[str | int, ...] = ()
) -> ModelT:
    """`data`, which stands at `at` in `source`, as `model`."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        places = [_visible(dict(fault), data) for fault in error.errors()]
        loc = at + places[0]
        message, remedy = _explain(dict(first), model, loc)
        more = len(set(places)) - 1
        if more:
            message += f" (and {more} more)"
        raise source.error(loc, message, remedy) from error


def _visible(fault: dict[str, Any], data: Any) -> tuple[str | int, ...]:
    """Where the fault is, without the names of union members that pydantic puts there."""
    loc: tuple[str | int, ...] = fault["loc"]
    kept: list[str | int] = []
    for part in loc:
        is_key = isinstance(data, dict) and part in data
        is_index = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if is_key or is_index:
            data = data[part]
        elif part != loc[-1] or fault["type"] != "missing":
            continue
        kept.append(part)
    return tuple(kept)


def _explain(
    fault: dict[str, Any], model: type[BaseModel], loc: tuple[str | int, ...]
) -> tuple[str, str]:
    kind, given = fault["type"], fault.get("input")
    if kind == "extra_forbidden":
        return "there is no such field", _did_you_mean(str(loc[-1]), _field_names(model))
    if kind == "missing":
        return "the field is missing", f"Add `{loc[-1]}:` there."
    message = str(fault["msg"]).removeprefix("Value error, ")
    message, _, remedy = message.partition(" | ")
    if not remedy:
        remedy = f"The value there is {_shortened.repr(given)}; correct it."
    return message[0].lower() + message[1:], remedy


def _field_names(model: type[BaseModel]) -> list[str]:
    """The fields of a model and of the models inside it, for suggestions."""
    names: list[str] = []
    pending, seen = [model], set()
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        for name, info in current.model_fields.items():
            names.append(info.alias or name)
            pending.extend(_models_in(info.annotation))
    return sorted(set(names))


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found: list[type[BaseModel]] = []
    for inner in getattr(annotation, "__args__", ()):
        found.extend(_models_in(inner))
    return found


def suggest(name: str, known: list[str], what: str) -> str:
    """`Did you mean X?` or the list of what is known."""
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"Did you mean `{close[0]}`? Known {what}: {', '.join(sorted(known))}."
    return f"Known {what}: {', '.join(sorted(known)) or 'none'}."


def _did_you_mean(name: str, known: list[str]) -> str:
    return suggest(name, known, "fields")


def _kind(data: Any) -> str:
    if data is None:
        return "nothing"
    if isinstance(data, list):
        return "a list"
    return f"a {type(data).__name__}"


def word(value: object) -> object:
    """For a validator that runs before: YAML 1.1 reads a bare on or off as a boolean."""
    return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value
