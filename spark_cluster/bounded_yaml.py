"""YAML of strangers: parsed within bounds of size, nodes and depth, and keys given twice refused.

400 bytes of aliases to aliases become gigabytes once somebody walks or copies them: what they stand
for is counted before anything is made of it.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Any

import yaml

#: Characters, nodes (an alias counts as all that it stands for) and levels; ours have 10 KiB, 500
#: and 8.
SIZE_LIMIT = 256 * 1024
NODE_LIMIT = 20_000
DEPTH_LIMIT = 64

#: Digits of a number; reading one takes time with the square of them.
_DIGITS = 100

_NUMBERS = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})

#: What PyYAML raises itself: `!!bool 3`, `!!int ""`, a day 32, a list of lists of lists of …
LOADER_FAULTS = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


def load(text: str) -> Any:
    """The value of a text. Raises yaml.YAMLError and LOADER_FAULTS."""
    return parse(text)[1]


def parse(text: str) -> tuple[yaml.Node | None, Any]:
    """The root node (None for an empty text) and the value. Raises as `load` does."""
    if len(text) > SIZE_LIMIT:
        raise yaml.YAMLError(f"more than {SIZE_LIMIT // 1024} KiB")
    if yaml.__with_libyaml__:
        try:
            _weigh(text)
            return _read(_quick_loader()(text))
        except (yaml.YAMLError, *LOADER_FAULTS):
            pass  # read again, by the loader whose errors quote the line
    return _read(_Loader(text))


def _weigh(text: str) -> None:
    """Counts nodes and levels before libyaml makes anything of them: it would go down any depth."""
    nodes = depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        nodes += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if nodes > NODE_LIMIT or depth >= DEPTH_LIMIT:
            raise yaml.YAMLError("too large")


def _read(loader: Any) -> tuple[yaml.Node | None, Any]:
    try:
        root = loader.get_single_node()
        if root is None:
            return None, None
        _count(root, {}, ())
        return root, loader.construct_document(root)
    finally:
        loader.dispose()


def _refusal(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _count(node: yaml.Node, known: dict[int, int], above: tuple[int, ...]) -> int:
    """How many nodes this one stands for, its aliases followed."""
    if id(node) in above:
        raise _refusal("an alias stands for something that holds it", node)
    if id(node) not in known:
        inside: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            inside = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            inside = node.value
        known[id(node)] = 1 + sum(_count(part, known, (*above, id(node))) for part in inside)
        if known[id(node)] > NODE_LIMIT:
            raise _refusal(f"its aliases stand for more than {NODE_LIMIT} values", node)
    return known[id(node)]


class _Checked(yaml.constructor.SafeConstructor):
    """A key given twice is refused: YAML would silently take the last."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag in _NUMBERS and len(node.value) > _DIGITS:
            raise _refusal(f"a number of more than {_DIGITS} digits", node)
        try:
            return super().construct_object(node, deep)
        except LOADER_FAULTS as error:
            raise _refusal(str(error) or type(error).__name__, node) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise _refusal("a key must be a word, not a list or a mapping", key_node)
            if key in seen:
                first = seen[key] + 1
                raise _refusal(f"{key!r} is given twice (first on line {first})", key_node)
            seen[key] = key_node.start_mark.line
        return super().construct_mapping(node, deep)


class _Loader(_Checked, yaml.SafeLoader):
    """SafeLoader with bounds."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = 0
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._nodes += 1
        self._depth += 1
        if self._nodes > NODE_LIMIT or self._depth > DEPTH_LIMIT:
            bound = f"{NODE_LIMIT} values" if self._nodes > NODE_LIMIT else f"{DEPTH_LIMIT} levels"
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem=f"more than {bound}", problem_mark=mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


@cache
def _quick_loader() -> Any:
    class _QuickLoader(_Checked, yaml.CSafeLoader):
        """libyaml's parser, some ten times as fast. Not all builds of PyYAML have it."""

    return _QuickLoader
