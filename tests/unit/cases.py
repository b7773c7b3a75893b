"""Case files that say in their first lines what is expected of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from spark_cluster.core.error import InputError


@dataclass(frozen=True)
class Expected:
    """`# line:`, `# says:` and `# remedy:` of a case file."""

    line: int
    says: str
    remedy: str

    @classmethod
    def of(cls, path: Path) -> Expected:
        text = path.read_bytes().decode("latin-1")
        words = dict(re.findall(r"^# (line|says|remedy): (.*)$", text, re.MULTILINE))
        return cls(int(words["line"]), words["says"], words["remedy"])


def refused(call: Callable[[], object]) -> InputError:
    """The InputError that `call` must raise: exit code 2, and a remedy."""
    with pytest.raises(InputError) as caught:
        call()
    assert caught.value.exit_code == 2
    assert caught.value.remedy.strip()
    return caught.value


def refused_as_its_head_says(path: Path, call: Callable[[], object]) -> None:
    """The error names the file, the line, the field and what would be right."""
    expected = Expected.of(path)
    error = refused(call)
    assert expected.says in error.message
    assert expected.remedy in error.remedy
    assert error.place == f"{path}:{expected.line}"


def write(path: Path, text: str) -> Path:
    """`text` at `path`, its folders made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
