"""Public signatures where a step, a fact or a run passes through name their types: no Any."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import spark_cluster

PACKAGE = Path(spark_cluster.__file__).parent

#: What is not here handles JSON or another program's objects.
ROOMS = ("steps", "facts", "doctor")
MODULES = (
    "core/step.py", "core/plan.py", "core/result.py", "core/error.py", "playbook/loader.py",
    "runner/run.py", "runner/session.py", "runner/lock.py", "runner/guard.py", "runner/waiting.py",
    "runner/outcome.py", "transport/protocol.py",
)  # fmt: skip

PATHS = sorted(
    {path for room in ROOMS for path in (PACKAGE / room).glob("*.py")}
    | {PACKAGE / name for name in MODULES}
)


def _public(name: str) -> bool:
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))


def _annotations(tree: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    """Those of public functions, methods and fields, with the name that they belong to."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.ClassDef(name=name) if _public(name):
                yield from ((f"{name}.{inner}", found) for inner, found in _annotations(node))
            case ast.FunctionDef(name=name) if _public(name):
                given = node.args
                several = [*given.posonlyargs, *given.args, *given.kwonlyargs]
                for argument in (*several, given.vararg, given.kwarg):
                    yield name, argument.annotation if argument else None
                yield name, node.returns
            case ast.AnnAssign(target=ast.Name(id=name)) if _public(name):
                yield name, node.annotation


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_public_signature_says_any(path: Path) -> None:
    found = [
        name
        for name, annotation in _annotations(ast.parse(path.read_text()))
        if annotation is not None
        and any(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(annotation))
    ]
    assert found == []


def test_a_signature_that_says_any_is_found() -> None:
    tree = ast.parse("class A:\n    b: dict[str, Any]\n    def c(self, **d: Any) -> int: ...\n")
    named = [
        name
        for name, annotation in _annotations(tree)
        if annotation is not None and "Any" in ast.dump(annotation)
    ]
    assert named == ["A.b", "A.c"]
