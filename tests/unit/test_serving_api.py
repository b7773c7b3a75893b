"""The endpoint's scripts, run under sh against a small server, and the parsers of their output."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.serving.api import (
    canary_script,
    generate_script,
    get,
    health_script,
    parse_completion,
    parse_health,
    response,
    responses,
    with_key,
)

from .cases import write

DATA = Path(__file__).parent / "data" / "vllm"
COMPLETION = (DATA / "vllm_completion.json").read_text()
MODELS = (DATA / "vllm_models.json").read_text()
MODEL = "QuantTrio/Qwen3-VL-235B-A22B-Instruct-AWQ"


def answer(body: str, status: int = 200, rest: str = " 0.410000 s ") -> str:
    return f"{body}\n@@http {status:03d}{rest}\n"


def test_a_completion() -> None:
    found = parse_completion(answer(COMPLETION))
    assert (found.ok, found.status, found.completion_tokens) == (True, 200, 64)
    assert (found.prompt_tokens, found.seconds, found.error) == (5, 0.41, "")
    assert found.text.startswith("��")


def test_several_completions_are_added_up() -> None:
    found = parse_completion(answer(COMPLETION) * 3)
    assert (found.ok, found.completion_tokens, found.prompt_tokens) == (True, 192, 15)
    assert found.seconds == pytest.approx(1.23)


def test_one_bad_answer_spoils_the_sum() -> None:
    broken = answer('{"error": {"message": "EngineCore died", "code": 500}}', 500)
    found = parse_completion(answer(COMPLETION) + broken)
    assert (found.ok, found.status, found.completion_tokens) == (False, 500, 64)
    assert found.error == "HTTP 500: EngineCore died"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (answer("", 0, " 0.1 s Failed to connect to 127.0.0.1"), "Failed to connect to 127.0.0.1"),
        (answer("", 0, ""), "no answer"),
        ("half an answ", "the request did not end"),
        ("", "the request did not end"),
        (answer("Internal Server Error", 500), "HTTP 500: Internal Server Error"),
        (answer('{"detail": "Not Found"}', 404), "HTTP 404: Not Found"),
        (answer('{"message": "no such model"}', 400), "HTTP 400: no such model"),
        (answer("", 503), "HTTP 503: no reason given"),
        (answer("{}"), "the answer holds no completion"),
        (answer("[1]"), "the answer holds no completion"),
        (answer('{"choices": []}'), "the answer holds no completion"),
        (
            answer('{"choices": [{"text": ""}], "usage": {"completion_tokens": 0}}'),
            "the completion",
        ),
        (answer('{"choices": [{"text": "a"}]}'), "the completion holds no token"),
    ],
)
def test_no_completion(text: str, error: str) -> None:
    found = parse_completion(text)
    assert not found.ok
    assert found.error.startswith(error)


@given(st.text())
def test_parsers_take_any_text(text: str) -> None:
    for whole in (text, answer(text), answer(text, 500)):
        parse_completion(whole)
        parse_health(whole)


@given(st.lists(st.text(st.characters(exclude_characters="\n"))), st.integers(100, 599))
def test_bodies_come_back_from_between_the_markers(bodies: list[str], status: int) -> None:
    kept = [body for body in bodies if not body.startswith("@@http")]
    found = list(responses("".join(answer(body, status) for body in kept)))
    assert [(item.status, item.body) for item in found] == [(status, body) for body in kept]


class Handler(BaseHTTPRequestHandler):
    """Answers as vLLM does and keeps what it was asked."""

    asked: ClassVar[list[dict[str, Any]]] = []
    keys: ClassVar[list[str | None]] = []

    def log_message(self, format: str, *args: object) -> None:
        pass

    def send(self, body: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def do_GET(self) -> None:
        self.send("" if self.path == "/health" else MODELS)

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(request)
        self.keys.append(self.headers["Authorization"])
        tokens = request["max_tokens"]
        usage = {"completion_tokens": tokens, "prompt_tokens": 6}
        self.send(json.dumps({"choices": [{"text": "it's\n"}], "usage": usage}))


@pytest.fixture
def port() -> Iterator[int]:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    Handler.asked.clear()
    Handler.keys.clear()
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def sh(script: str, shell: str = "sh", path: str = "/usr/bin:/bin") -> str:
    ran = subprocess.run(
        [shell, "-eu"],
        input=script,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env={"PATH": path, "http_proxy": "http://127.0.0.1:9"},
    )
    return ran.stdout


def test_canary_asks_for_one_token(port: int) -> None:
    found = parse_completion(sh(canary_script(port, "o'model $HOME `x`", timeout=10)))
    assert (found.ok, found.completion_tokens, found.text) == (True, 1, "it's\n")
    (request,) = Handler.asked
    assert request["model"] == "o'model $HOME `x`"
    assert (request["max_tokens"], request["min_tokens"], request["ignore_eos"]) == (1, 1, True)


KEY = r"it's \\ $HOME `id` \"key\""

#: Prints a container's environment; curl that tells what everybody could see of it, and is curl.
_DOCKER = """#!/bin/sh
printf '%s\\n' "$@" >> @SEEN@
cat <<'END'
PATH=/usr/bin
VLLM_API_KEY=@KEY@
END
"""
_CURL = """#!/bin/sh
printf '%s\\n' "$@" >> @SEEN@
env >> @SEEN@
exec @CURL@ "$@"
"""


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_key_is_sent_and_nobody_sees_it(port: int, tmp_path: Path, shell: str) -> None:
    seen = tmp_path / "seen"
    for name, text in (("docker", _DOCKER), ("curl", _CURL)):
        text = text.replace("@SEEN@", str(seen)).replace("@KEY@", KEY)
        program = write(tmp_path / "bin" / name, text.replace("@CURL@", shutil.which("curl") or ""))
        program.chmod(0o755)
    path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    script = with_key(generate_script(port, MODEL, 300, timeout=10), "vllm-head")
    assert parse_completion(sh(script, shell, path)).ok
    assert Handler.keys == [f"Bearer {KEY}"] * 2
    assert "vllm-head" in seen.read_text()
    assert KEY not in seen.read_text()


def test_without_a_key_none_is_sent(port: int) -> None:
    assert parse_completion(sh(with_key(canary_script(port, MODEL, timeout=10), "gone"))).ok
    assert parse_completion(sh(canary_script(port, MODEL, timeout=10))).ok
    assert Handler.keys == [None, None]


def test_generate_splits_what_is_long(port: int) -> None:
    found = parse_completion(sh(generate_script(port, MODEL, 600, timeout=10)))
    assert (found.ok, found.completion_tokens) == (True, 600)
    assert [request["max_tokens"] for request in Handler.asked] == [256, 256, 88]


def test_health_and_a_plain_get(port: int) -> None:
    assert parse_health(sh(health_script(port))).ok
    assert response(sh(get(port, "/v1/models", 5))).body == MODELS.strip("\n")


def test_the_script_goes_on_after_the_request(port: int) -> None:
    """GET must not eat the script, which comes on standard input, too."""
    assert sh(health_script(port) + "echo after\n").endswith("after\n")


def test_nobody_listens() -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    found = parse_completion(sh(canary_script(1, "m", timeout=5)))
    assert (found.ok, found.status) == (False, None)
    assert "connect" in found.error.lower()
