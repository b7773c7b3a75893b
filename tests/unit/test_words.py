"""Sentences for a person."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.core.words import sentence
from spark_cluster.serving import ray


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("curl: (7) Failed to connect", "curl: (7) Failed to connect."),
        ("EngineCore encountered an issue.", "EngineCore encountered an issue."),
        ("Is the docker daemon running?\n", "Is the docker daemon running?"),
    ],
)
def test_a_sentence_ends_once(text: str, expected: str) -> None:
    assert sentence(text) == expected


@given(st.text())
def test_no_text_gets_a_second_full_stop(text: str) -> None:
    assert sentence(sentence(text)) == sentence(text)


@pytest.mark.parametrize("said", ["connection refused", "connection refused."])
def test_what_ray_said_is_a_sentence(said: str) -> None:
    (line,) = ray.joined(ray.RayStatus(error=said), ["192.168.100.10"], 1.0)
    assert line == "Ray does not answer: connection refused."
