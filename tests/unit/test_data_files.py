"""The data files that the package carries: none gives a key twice, none has a key that nobody
reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import ValidationError

import spark_cluster
from spark_cluster import bounded_yaml
from spark_cluster.core import data_files
from spark_cluster.core.data_files import NO_OTHER_KEYS, parse_yaml, read_yaml
from spark_cluster.rdma import counter_names, nccl_events, nccl_releases, verbs_names

FILES = sorted((Path(spark_cluster.__file__).parent).rglob("*.yaml"))


@dataclass(frozen=True)
class Shape:
    __pydantic_config__ = NO_OTHER_KEYS
    number: int


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_key_is_given_twice(path: Path) -> None:
    """bounded_yaml refuses that; the parser that the program uses takes the last."""
    text = path.read_text(encoding="utf-8")
    assert bounded_yaml.load(text) == parse_yaml(text)


def test_the_tables_of_rdma_are_whole() -> None:
    assert counter_names.ERROR_COUNTERS["packet_seq_err"].severity is counter_names.Growth.FAIL
    known = set(counter_names.ERROR_COUNTERS)
    assert set(counter_names.SATURATING_BITS) <= known
    assert {name for name in known if counter_names.ERROR_COUNTERS[name].loss} == set(
        counter_names._file().loss
    )
    assert verbs_names.errno_of("Connection timed out") == 110
    assert verbs_names.errno_of("") is None
    assert nccl_releases.reported()
    events = {kind.name for kind in nccl_events.KINDS}
    assert {name for forms in nccl_events._forms().values() for name, _ in forms} <= events


@pytest.mark.parametrize("text", ["{}", "{number: a}", "{number: 1, numbr: 2}", "[]"])
def test_a_file_of_another_shape_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_files, "read_text", lambda *_: text)
    with pytest.raises(ValidationError):
        read_yaml(Shape, "spark_cluster.core", "x.yaml")
