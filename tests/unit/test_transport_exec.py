"""Wrapping scripts and reading what comes back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.core.secret import Secret
from spark_cluster.transport import exec as wrapping
from spark_cluster.transport.exec import Exchange, Way

TOKEN = "spark-0123456789abcdef"


def exchange(way: Way = Way.USER, **more: object) -> Exchange:
    return Exchange(way, TOKEN, b"the script", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("way", list(Way))
@pytest.mark.parametrize("limit", [None, 0.5, 60.0, 86400.0])
def test_the_command_is_one_word_for_every_login_shell(way: Way, limit: float | None) -> None:
    line = wrapping.command_line(way, TOKEN, limit)
    word = line.removeprefix("exec sh -c '").removesuffix("'")
    assert line == f"exec sh -c '{word}'"
    assert not re.search(r"['\\\n!]", word)


@pytest.mark.parametrize(
    ("limit", "words"), [(60, "timeout -k 5 60 sh"), (0.25, "timeout -k 5 0.25 sh"), (None, "; sh")]
)
def test_the_limit(limit: float | None, words: str) -> None:
    assert words in wrapping.command_line(Way.USER, TOKEN, limit)


def test_the_limit_is_inside_sudo() -> None:
    assert re.search(r"sudo -n env .*timeout", wrapping.command_line(Way.ROOT, TOKEN, 5))


@pytest.mark.parametrize("limit", [0, -1, 0.0001])
def test_a_limit_that_would_be_none(limit: float) -> None:
    with pytest.raises(ValueError, match="above zero"):
        wrapping.command_line(Way.USER, TOKEN, limit)


@pytest.mark.parametrize("token", ["", "a b", "x;reboot", "x'y"])
def test_a_token_that_is_none(token: str) -> None:
    with pytest.raises(ValueError, match="not a token"):
        wrapping.command_line(Way.USER, token, 1)


def test_environment_is_quoted_and_checked() -> None:
    body = wrapping.payload("true", TOKEN, {"A": "x'; reboot #"})
    assert b"A='x'\"'\"'; reboot #'; export A;" in body
    with pytest.raises(ValueError, match="environment variable"):
        wrapping.payload("true", TOKEN, {"A;B": ""})


def test_only_a_held_script_keeps_the_input() -> None:
    assert wrapping.payload("true", TOKEN).endswith(b"} </dev/null\n")
    assert b"/dev/null" not in wrapping.payload("true", TOKEN, held=True)


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("echo a\necho b", "echo a"),
        ("\n  # why\n\n  docker ps  \n", "docker ps"),
        ("login pw1", "login ***"),
        ("# nothing", ""),
        ("", ""),
    ],
)
def test_first_line(script: str, line: str) -> None:
    assert wrapping.first_line(script, [Secret("pw1")]) == line


def test_last_lines() -> None:
    assert wrapping.last_lines("a\n\nb\nc\n", 2) == "b\nc"


@given(
    before=st.binary(max_size=50),
    out=st.binary(max_size=200),
    err=st.binary(max_size=200),
    cuts=st.lists(st.integers(1, 40), max_size=20),
)
def test_any_pieces_give_the_same(before: bytes, out: bytes, err: bytes, cuts: list[int]) -> None:
    lines: list[str] = []
    talk = exchange(on_line=lines.append)
    for data, feed in (
        (before + TOKEN.encode() + b"\n" + out, talk.feed_out),
        (before + TOKEN.encode() + b" 4711\n" + err, talk.feed_err),
    ):
        for cut in cuts:
            feed(data[:cut])
            data = data[cut:]
        feed(data)
    talk.finish()
    assert talk.pid == 4711
    assert talk.stdout == out.decode(errors="replace")
    assert talk.stderr == err.decode(errors="replace")
    assert "\n".join(lines) == talk.stdout.removesuffix("\n")


def test_secrets_are_redacted_everywhere() -> None:
    lines: list[str] = []
    talk = exchange(secrets=[Secret("pw1")], on_line=lines.append)
    talk.feed_out(f"{TOKEN}\na pw1\n".encode())
    talk.feed_err(f"{TOKEN} 7\npw1".encode())
    assert (talk.stdout, talk.stderr, lines) == ("a ***\n", "***", ["a ***"])


def test_output_beyond_the_limit_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrapping, "LIMIT", 10)
    talk = exchange()
    talk.feed_err(f"{TOKEN} 7\n".encode())
    talk.feed_out(f"{TOKEN}\n".encode() + b"x" * 25)
    assert talk.stdout == "x" * 10
    assert "the first 15 bytes of output" in talk.stderr


def test_a_script_goes_out_once_with_the_end_of_input() -> None:
    talk = exchange()
    assert talk.outgoing() == (b"the script", True)
    assert talk.outgoing() == (b"", False)
    assert exchange(held=True).outgoing() == (b"the script", False)


def test_the_password_goes_out_when_asked_and_the_script_when_ready() -> None:
    talk = exchange(Way.ROOT_WITH_PASSWORD, password=Secret("pw1"))
    assert talk.outgoing() == (b"", False)
    talk.feed_err(f"lecture\n{TOKEN}-ask".encode())
    assert talk.outgoing() == (b"pw1\n", False)
    assert talk.outgoing() == (b"", False)
    talk.feed_err(f"{TOKEN}-ready\n".encode())
    assert talk.outgoing() == (b"the script", True)
    assert talk.outgoing() == (b"", False)
    assert not talk.wrong_password


def test_a_second_question_means_that_the_password_is_wrong() -> None:
    talk = exchange(Way.ROOT_WITH_PASSWORD, password=Secret("pw1"))
    talk.feed_err(f"{TOKEN}-ask".encode())
    talk.outgoing()
    talk.feed_err(f"Sorry, try again.\n{TOKEN}-ask".encode())
    assert talk.outgoing() == (b"", False)
    assert talk.wrong_password
    assert talk.stderr == "Sorry, try again.\n"


def test_no_question_no_password() -> None:
    talk = exchange(Way.ROOT_WITH_PASSWORD, password=Secret("pw1"))
    talk.feed_err(f"{TOKEN}-ready\n".encode())
    assert talk.outgoing() == (b"the script", True)


@pytest.mark.parametrize(
    ("way", "stderr", "wants", "reason"),
    [
        (Way.ROOT, "sudo: a password is required\n", True, "sudo: a password is required"),
        (Way.ROOT, "sudo: a terminal is required to read the password\n", True, None),
        (Way.ROOT, "sh: 1: sudo: not found\n", False, "sh: 1: sudo: not found"),
        (Way.ROOT, "ann is not in the sudoers file.\n", False, None),
        (Way.ROOT_WITH_PASSWORD, "Sorry, user ann is not allowed to execute it\n", False, None),
        (Way.ROOT_WITH_PASSWORD, "sudo: no password was provided\n", False, None),
    ],
)
def test_refusals(way: Way, stderr: str, wants: bool, reason: str | None) -> None:
    talk = exchange(way)
    talk.feed_err(stderr.encode())
    refusal = talk.refusal()
    assert refusal is not None and refusal.wants_password is wants
    assert reason is None or refusal.reason == reason


def test_no_refusal_once_started_or_as_oneself() -> None:
    talk = exchange(Way.ROOT)
    talk.feed_err(f"{TOKEN} 7\nsudo: a password is required\n".encode())
    assert talk.refusal() is None
    mine = exchange()
    mine.feed_err(b"sudo: a password is required\n")
    assert mine.refusal() is None
