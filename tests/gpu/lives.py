"""One launch and what happens to it, for Ray's life and for that without it."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .hosts import HEAD, WORKER
from .pair import Pair
from .program import Said

#: `watch` for minutes, not days: what it waits for, in seconds.
PATIENCE = "wedge=8,young=1,dead=4,silent=5"

#: What points to RDMA, which is not the fault when the server is down.
_BLAMES_RDMA = re.compile(r"RDMA001|modprobe|mlx5")


class Life:
    """`recipe` is launched by the first phase that needs it; torn down by `end`."""

    def __init__(self, pair: Pair, recipe: str, *options: str) -> None:
        self.pair = pair
        self.recipe = recipe
        self.options = options
        self.launched: Said | None = None
        self.ready = False

    def need(self) -> Said:
        """How the launch went. Skips what needs it when it did not come up."""
        if self.launched is None:
            self.launched = self.pair.launch(self.recipe, *self.options)
            self.pair.record.said(ends(self.launched))
            assert_ready(self.launched)
            self.ready = True
        if not self.ready:
            pytest.skip(f"{self.recipe} did not come up")
        return self.launched

    def end(self) -> None:
        if self.launched is not None:
            self.pair.teardown()


def ends(said: Said) -> str:
    """A run in a line: what it came to."""
    words = " ".join(said.words)
    told = "; ".join(said.problems) or str(said.data.get("verdict") or "")
    return f"{words}: exit {said.code}, {said.seconds:.0f} s: {told}"


def assert_ready(said: Said) -> None:
    """It serves a token. Without RDMA the verdict is `socket`, and the exit code says so."""
    for step in ("ready", "canary"):
        assert said.result(step, HEAD)["status"] == "ok", said
    assert_socket(said)


def assert_socket(said: Said) -> None:
    assert said.code == 4, said
    verdict = said.data.get("verdict")
    assert verdict == "socket" or (isinstance(verdict, dict) and verdict["kind"] == "socket"), said


def failure(said: Said) -> str:
    """The sentence with which a launch ended before its server was ready."""
    found = [
        event["error"]["message"] for event in said.events
        if event.get("kind") == "step_finished" and event.get("error")
        and event["step"] not in ("canary", "rdma-verdict")
    ]  # fmt: skip
    assert found, f"it did not fail:\n{said}"
    return str(found[0])


def check_traffic(life: Life, *, live: bool) -> None:
    """Tokens go by TCP over the first rail, some tens of KiB each, the same on both hosts."""
    words = ("--live", "--interval", "4") if live else ()
    if live:
        with life.pair.load():
            said = life.pair.run("verify-rdma", "--json", *words)
    else:
        said = life.pair.run("verify-rdma", "--json", *words)
    assert_socket(said)
    for host in (HEAD, WORKER):
        found = re.search(rf"{host} \(rank \d\): enp1s0f1np1 carried [^\"]*?a token", said.text)
        assert found, said
        life.pair.record.said(found[0])
        assert not re.search(rf"{host}[^\"]*holds no line of NCCL", said.text), said
    assert "soft-RoCE" not in said.text, said


def check_wedge(life: Life) -> None:
    """A rank is stopped under load: verify-rdma --live and watch say so, and that it ended."""
    pair = life.pair
    with pair.load(), pair.watching("--interval", "3", patience=PATIENCE) as watching:
        watching.until(r"watching", 30)
        stopped = pair.signal_rank(pair.worker, signal.SIGSTOP)
        try:
            said = pair.run("verify-rdma", "--live", "--interval", "4", "--json")
            assert said.code == 4, said
            pair.record.said(said.find(r"No tokens in [^\"]*"))
            assert "idle" in said.text, said
            pair.record.said(watching.until(r"began critical wedge", 60))
            watching.until(r"evidence: ", 120)
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        pair.record.said(watching.until(r"ended critical wedge", 60))
    answer = pair.canary(30)
    assert answer.ok, answer


def kill_rank(pair: Pair) -> None:
    """SIGKILL to the worker's rank under load; back when the server has noticed it, or not."""
    with pair.load():
        pids = pair.signal_rank(pair.worker, signal.SIGKILL)
        pair.eventually(
            lambda: not set(pids) & set(pair.worker.pids("")), 20, "the killed rank is gone"
        )


def check_killed_rank_is_named(life: Life) -> None:
    """status, verify-rdma, doctor and evidence say that the rank or the server is dead; nobody
    blames RDMA, or only says that there is no answer yet."""
    pair = life.pair
    kill_rank(pair)
    dead = re.compile(r"dead|died|ended|does not run|has gone|is gone|exited|killed", re.I)

    def named() -> bool:
        return bool(dead.search(_of_server(pair.run("status").text)))

    pair.eventually(named, 60, "status names what is dead")
    status = pair.run("status")
    lines = [line.strip() for line in status.text.splitlines() if dead.search(line)]
    pair.record.said("status: " + " | ".join(lines))
    assert "does not answer yet" not in status.text, status

    verify = pair.run("verify-rdma", "--json", seconds=240)
    pair.record.said("verify-rdma: " + "; ".join(verify.problems))
    assert verify.code not in (0, 1), verify
    assert not any(_BLAMES_RDMA.search(problem) for problem in verify.problems), verify
    assert dead.search(" ".join(verify.problems) + _reasons(verify)), verify

    doctor = pair.run("doctor")
    pair.record.said("doctor: " + doctor.find(r"(?:SERVE|RDMA016)\S* .*"))
    pages = pair.evidence()
    named_there = re.search(r".*(?:SERVE\d+|RDMA016|rank \d).*(?:dead|died|ended|killed|exited).*",
                            pages["index.md"])  # fmt: skip
    assert named_there, pages["index.md"]
    pair.record.said("index.md: " + named_there[0].strip())
    pair.grab()


def _of_server(text: str) -> str:
    """status' lines on containers and their server."""
    return "\n".join(line for line in text.splitlines() if "vllm" in line or "server" in line)


def _reasons(said: Said) -> str:
    """Of the verdict at the end."""
    verdict = said.data.get("verdict")
    reasons = verdict.get("reasons") if isinstance(verdict, dict) else said.data.get("reasons")
    return " ".join(reasons or ())


def check_evidence(life: Life) -> None:
    """The archive has the logs of all ranks, NCCL's lines of each, and an index."""
    pages = life.pair.evidence()
    for host, name in ((HEAD, "vllm-head"), (WORKER, "vllm-worker")):
        own = {path: text for path, text in pages.items() if path.startswith(f"{host}/")}
        log = next((text for path, text in own.items() if path.endswith(f"logs-{name}.txt")), "")
        assert log.strip(), (host, sorted(own))
        with_nccl = sorted(path for path, text in own.items() if "NCCL INFO" in text)
        assert with_nccl, f"no line of NCCL's of {host} in {sorted(own)}"
        life.pair.record.said(f"{host}: NCCL's lines in {', '.join(with_nccl)}")
    assert "index.md" in pages


@contextmanager
def timed(limit: float) -> Iterator[None]:
    begun = time.monotonic()
    yield
    took = time.monotonic() - begun
    assert took < limit, f"it took {took:.0f} s"
