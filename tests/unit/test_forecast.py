"""The forecast of a preparation: what earlier runs tell, what is guessed, what is not known."""

from __future__ import annotations

import math
from typing import Any

import pytest

from spark_cluster.transfer.forecast import (
    COPY,
    DOWNLOAD,
    IMAGE,
    MODEL,
    Expected,
    Experience,
    Moved,
    Part,
    expect,
    experience,
    needed,
    off,
    total,
)

GB = 10**9


def no_wire(source: str, sink: str) -> None:
    return None


def wire(source: str, sink: str) -> float:
    return 200.0


def download(size: int | None = 10 * GB, what: str = MODEL, host: str = "spark-2") -> Part:
    return Part(what, "org/name", DOWNLOAD, (host,), bytes=size)


def copy(size: int = 10 * GB, what: str = MODEL, *hosts: str) -> Part:
    return Part(what, "org/name", COPY, hosts or ("spark-3",), "spark-2", size)


def moved(what: str, way: str, rate: float, source: str = "", host: str = "spark-2") -> Moved:
    return Moved(what, way, source, host, GB, GB / rate)


def test_the_median_of_the_newest_of_the_same_kind_and_way() -> None:
    rates = [0.1, 0.2, 0.3, 0.1, 0.2, 90.0, 90.0]
    seen = Experience(tuple(moved(MODEL, DOWNLOAD, rate * GB) for rate in rates))
    assert expect(download(), seen, no_wire).seconds == pytest.approx(50)


@pytest.mark.parametrize(
    ("seen", "seconds"),
    [
        ([moved(MODEL, COPY, 2 * GB, "spark-2", "spark-3")], 5),
        ([moved(MODEL, COPY, 1 * GB, "spark-3", "spark-2")], 10),  # any pair, if not this one
        (
            [
                moved(MODEL, COPY, 1 * GB, "spark-3", "spark-2"),
                moved(MODEL, COPY, 2 * GB, "spark-2", "spark-3"),
            ],
            5,
        ),
    ],
)
def test_a_copy_goes_by_copies_of_the_same_pair_first(seen: list[Moved], seconds: float) -> None:
    assert expect(copy(), Experience(tuple(seen)), wire).seconds == pytest.approx(seconds)


def test_an_image_is_no_model_but_the_internet_is_the_same() -> None:
    seen = Experience((moved(MODEL, COPY, 2 * GB, "spark-2", "spark-3"),))
    assert expect(copy(what=IMAGE), seen, wire).seconds == pytest.approx(10 / 0.3)
    seen = Experience((moved(MODEL, DOWNLOAD, 0.1 * GB),))
    assert expect(download(what=IMAGE), seen, wire).seconds == pytest.approx(100)


def test_without_copies_the_link_or_the_host_is_the_limit() -> None:
    nothing = Experience()
    assert expect(copy(), nothing, wire).seconds == pytest.approx(10 / 1.5)
    slow = Experience(links={("spark-2", "spark-3"): 4.0})
    found = expect(copy(), slow, wire)
    assert found.seconds == pytest.approx(20)
    assert "measured" in found.basis
    assert "guess" in expect(copy(), nothing, no_wire).basis


def test_what_nothing_is_known_of_is_not_guessed() -> None:
    nothing = expect(download(), Experience(), wire)
    assert (nothing.seconds, nothing.basis) == (None, "nothing was downloaded from here before")
    seen = Experience((moved(MODEL, DOWNLOAD, GB),))
    assert expect(download(None), seen, wire).seconds is None
    assert total([nothing, Expected(copy(), 5.0, "")]) == (20 * GB, None)
    assert total([expect(download(None), seen, wire)]) == (None, None)
    assert total([]) == (0, 0)


def test_the_slowest_host_counts_and_each_gets_its_bytes() -> None:
    part = copy(10 * GB, MODEL, "spark-3", "spark-1")
    links = {("spark-2", "spark-3"): 100.0, ("spark-2", "spark-1"): 4.0}
    found = expect(part, Experience(links=links), no_wire)
    assert found.seconds == pytest.approx(20)
    assert part.total == 20 * GB


def test_an_image_needs_room_packed_and_unpacked() -> None:
    parts = [download(10, IMAGE), copy(22, IMAGE), download(5), copy(5), download(None, IMAGE)]
    assert needed(parts) == {"spark-2": 32 + 5, "spark-3": 22 + 5}


def test_how_far_off() -> None:
    assert (off(100, 125), off(100, 50), off(None, 3), off(0, 3)) == (0.25, -0.5, None, None)


# What the journals tell


GOT = {"host": "spark-2", "received_bytes": GB, "seconds": 10.0}
COPIED = {
    "source": "spark-2", "sink": "spark-3", "received_bytes": GB, "seconds": 2.0, "iperf_gbits": 98,
}  # fmt: skip


def test_each_verb_that_moves_something_is_heard() -> None:
    probed = {"from": "spark-3", "to": "spark-2", "rails": ["a"], "gbits": 90}
    seen = experience(
        [
            {"image": "x:1", "downloads": [GOT], "copies": [COPIED]},
            {"model": "a/b", "downloads": [GOT]},
            {"parts": [{"what": "model", "took": 4.0, "copies": [COPIED], "downloads": []}]},
            {"bandwidth": [probed, {**probed, "rails": ["a", "b"], "gbits": 170}]},
            {"bandwidth": [{**probed, "gbits": 12}]},
        ]
    )
    assert [(one.what, one.way, one.host) for one in seen.moves] == [
        (IMAGE, DOWNLOAD, "spark-2"),
        (IMAGE, COPY, "spark-3"),
        (MODEL, DOWNLOAD, "spark-2"),
        (MODEL, COPY, "spark-3"),
    ]
    assert [one.rate for one in seen.moves] == [GB / 10, GB / 2, GB / 10, GB / 4]
    assert seen.links == {("spark-2", "spark-3"): 98, ("spark-3", "spark-2"): 170}, "the newest"


@pytest.mark.parametrize(
    "bad",
    [None, [], "x", {"received_bytes": True}, {"received_bytes": GB, "seconds": 0},
     {"received_bytes": GB, "seconds": math.nan}, {"received_bytes": 1000, "seconds": 1},
     {"received_bytes": -GB, "seconds": 1}, {"received_bytes": math.inf, "seconds": 1},
     {"received_bytes": "9", "seconds": "1"}],
)  # fmt: skip
def test_what_cannot_be_read_is_passed_over(bad: Any) -> None:
    for key in ("downloads", "copies", "bandwidth", "parts"):
        seen = experience([{"model": "a/b", key: [bad]}, {"model": "a/b", key: bad}])
        assert (seen.moves, seen.links) == ((), {})
