"""Measure every half between neighbours with perftest: who, in which order, and always ended."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from spark_cluster.core.error import Interrupted, SparkError, StepFailed
from spark_cluster.core.event import Note, StepStarted
from spark_cluster.core.result import Result, Status
from spark_cluster.core.shell import quote
from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.inventory.models import Inventory, Rail
from spark_cluster.rdma import perftest
from spark_cluster.rdma.bandwidth import Earlier, Expectation, Key, Row, amount, expectation, judge
from spark_cluster.runner import journal
from spark_cluster.runner.remote_program import Hosts
from spark_cluster.transport.protocol import Held

STEP = "bandwidth"

#: How often one measurement is tried. rxe breaks off now and then under emulation.
ATTEMPTS = 3

#: The same where perftest finds no steady clock on a busy host: nothing is wrong with the link.
BUSY_ATTEMPTS = 8


@dataclass(frozen=True)
class Ready:
    """What a host has for a measurement; `devices` are driver and link speed in Gb/s."""

    program: bool = False
    cm: bool = False
    devices: Mapping[str, tuple[str, float | None]] = field(default_factory=dict)


def _script(context: ProbeContext) -> str:
    names = " ".join(quote(rail.device) for rail in context.host.rails)
    return f"""\
command -v {perftest.PROGRAM} >/dev/null && echo program
[ -e /dev/infiniband/rdma_cm ] && echo cm
for _d in {names}; do
  _p=/sys/class/infiniband/$_d
  [ -d $_p ] || continue
  _driver=$(basename "$(readlink $_p/device/driver)" 2>/dev/null)
  [ -n "$_driver" ] || _driver=$(cut -d' ' -f1 $_p/node_desc)
  echo "device $_d $_driver $(cut -d' ' -f1 $_p/ports/1/rate)"
done
true
"""


def parse(text: str) -> Ready:
    lines = [line.split() for line in text.split("\n") if line.strip()]
    devices: dict[str, tuple[str, float | None]] = {}
    for words in lines:
        if words[0] == "device" and len(words) >= 3:
            rate = words[3] if len(words) > 3 else ""
            devices[words[1]] = (words[2], float(rate) if re.fullmatch(r"[\d.]*\d", rate) else None)
    return Ready(["program"] in lines, ["cm"] in lines, devices)


READY = Fact("bandwidth", _script, parse)


@dataclass(frozen=True)
class Test:
    """`source` writes to `sink` over these rails, all at once; each is (source's, sink's)."""

    source: str
    sink: str
    rails: tuple[tuple[Rail, Rail], ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(rail.interface for rail, _ in self.rails)

    @property
    def key(self) -> Key:
        return self.source, self.sink, self.names

    def turned(self) -> Test:
        return Test(self.sink, self.source, tuple((sink, source) for source, sink in self.rails))

    @property
    def lanes(self) -> tuple[perftest.Lane, ...]:
        return tuple(
            perftest.Lane(source.interface, sink.device, source.device, sink.ip)
            for source, sink in self.rails
        )


def port(interface: str) -> str:
    """The QSFP port of a Spark's half: `1` of enP2p1s0f1np1; empty for another name."""
    found = re.search(r"f(\d)np\d$", interface)
    return found[1] if found else ""


def tests(inventory: Inventory, names: Sequence[str], *, both: bool = True) -> list[Test]:
    """Each half between each two neighbours, each way, then the halves of a port together."""
    found: list[Test] = []
    for place, name in enumerate(names):
        for other in names[place + 1 :]:
            shared = tuple(
                (rail, peer)
                for rail in inventory.hosts[name].rails
                for peer_name, peer in inventory.peers(name, rail)
                if peer_name == other
            )
            groups: list[tuple[tuple[Rail, Rail], ...]] = [(pair,) for pair in shared]
            if both:
                ports = dict.fromkeys(port(rail.interface) for rail, _ in shared)
                halves = [tuple(p for p in shared if port(p[0].interface) == key) for key in ports]
                groups += [group for group in halves if len(group) > 1]
            for group in groups:
                test = Test(name, other, group)
                found += [test, test.turned()]
    return found


@dataclass
class Bench(Hosts):
    """Runs the tests of one session. Servers live as long as their `hold`, and no longer."""

    seconds: int
    before: Mapping[Key, Earlier] = field(default_factory=dict)

    def look(self) -> None:
        """One exec per host. Raises StepFailed when a host cannot measure at all."""
        facts = (READY, CONTAINERS)
        outcomes = self.each(self.session.alive, lambda host: host.read(facts))
        for name, outcome in outcomes.items():
            if isinstance(outcome, SparkError):
                continue
            if not outcome[READY].program:
                raise StepFailed(
                    f"{perftest.PROGRAM} is not installed",
                    host=name,
                    step=STEP,
                    code="HOST001",
                    remedy=f"Install it: `sudo apt-get install perftest` on {name}.",
                )
            if not outcome[READY].cm:
                missing = "/dev/infiniband/rdma_cm is missing: run `spark-cluster bootstrap`"
                self.listener(Note(missing, name))
            for container in outcome[CONTAINERS].containers:
                if container.running:
                    what = f"{container.name} runs: it and this measurement share the link"
                    self.listener(Note(what, name))

    def run(self, wanted: Sequence[Test]) -> list[Row]:
        """Measure one after the other: two at once would share a link. The rows, judged.

        Raises Locked, Interrupted.
        """
        alive = set(self.session.alive)
        pairs = [(t.source, t.sink) for t in wanted if {t.source, t.sink} <= alive]
        hosts = dict.fromkeys(name for pair in pairs for name in pair)
        rows: list[Row] = []
        with self.locked(list(hosts), "verify-rdma"):
            for test in wanted:
                self._heed_stop()
                rows.append(self._one(test))
        return rows

    def _heed_stop(self) -> None:
        if self.session.stop.requested:
            raise Interrupted(
                "stopped before the last measurement",
                remedy="No server was left running. Run the command again to measure all.",
            )

    def _one(self, test: Test) -> Row:
        row = Row(
            test.source, test.sink, test.names,
            expected=self._expected(test), before=self.before.get(test.key),
            peer_rails=tuple(peer.interface for _, peer in test.rails),
        )  # fmt: skip
        started = time.monotonic()
        self.listener(StepStarted(STEP, row.name, (test.source,)))
        parts: tuple[float, ...] = ()
        notes: list[str] = []
        attempt, most = 0, ATTEMPTS
        while attempt < most:
            attempt += 1
            away = [name for name in (test.source, test.sink) if name not in self.session.alive]
            if away:
                notes.append(f"{', '.join(away)}: not reached")
                break
            parts, reasons = self._attempt(test)
            self._heed_stop()
            if parts:
                notes = [f"attempt {attempt}; before: {note}" for note in notes[:1]]
                break
            notes = reasons
            if any(perftest.NO_CLOCK in reason for reason in reasons):
                most = BUSY_ATTEMPTS
        row = replace(row, parts=parts, notes=tuple(notes))
        self._tell(row, time.monotonic() - started)
        return row

    def _expected(self, test: Test) -> Expectation | None:
        """The lesser of what the two sides' hardware lets expect; None if one is unknown."""
        found: list[Expectation] = []
        for rails in test.rails:
            for name, rail in zip((test.source, test.sink), rails, strict=True):
                facts = self.session.hosts[name].facts
                driver, rate = ("", None)
                if READY in facts:
                    driver, rate = facts[READY].devices.get(rail.device, ("", None))
                wanted = expectation(driver, rate)
                if wanted is None:
                    return None
                found.append(wanted)
        return min(found, key=lambda wanted: wanted.half)

    def _attempt(self, test: Test) -> tuple[tuple[float, ...], list[str]]:
        """One try: Gb/s of each rail, or nothing and why."""
        script = perftest.server_script(test.lanes, self.seconds)
        with self.holding(test.sink, script) as server:
            if isinstance(server, SparkError):
                return (), [server.message]
            return self._meet(test, server)

    def _meet(self, test: Test, held: Held) -> tuple[tuple[float, ...], list[str]]:
        ready = perftest.ready(held.first_line)
        if ready is None:
            why = held.first_line.removeprefix("failed").strip() or "it ended without a word"
            return (), [f"the server on {test.sink} did not start: {why}"]
        folder, ports = ready
        script = perftest.client_script(test.lanes, ports, self.seconds)
        with self.holding(test.source, script) as client:
            outputs = client if isinstance(client, SparkError) else self._outputs(test, client)
        if isinstance(outputs, SparkError):
            return (), [outputs.message]
        parts = tuple(output.measured.gbits for output in outputs if output.measured is not None)
        if parts and len(parts) == len(outputs):
            return parts, []
        said = [f"{test.source}: {reason}" for output in outputs for reason in output.reasons]
        show = f"cat {quote(folder)}/* 2>/dev/null; true"
        server = self.on(test.sink, lambda host: host.run(show, timeout=20))
        if not isinstance(server, SparkError):
            said += [f"{test.sink}: {reason}" for reason in perftest.parse(server.stdout).reasons]
        seconds = perftest.MEET_SECONDS + self.seconds
        return (), list(dict.fromkeys(said)) or [f"no result within {seconds} s: they did not meet"]

    def _outputs(self, test: Test, client: Held) -> list[perftest.Output] | SparkError:
        started = perftest.ready(client.first_line)
        if started is None:
            return StepFailed(
                f"the client on {test.source} did not start: {client.first_line}",
                remedy="See whether /tmp is writable there.",
            )
        script = perftest.result_script(*started)
        limit = perftest.result_seconds(self.seconds)
        done = self.on(test.source, lambda host: host.run(script, timeout=limit))
        if isinstance(done, SparkError):
            return done
        return perftest.sections(done.stdout, len(test.rails))

    def _tell(self, row: Row, seconds: float) -> None:
        said = f"{amount(row.gbits)} Gb/s" if row.gbits is not None else "not measured"
        status = _status(judge([row])[0][0])
        if not {row.source, row.sink} <= set(self.session.alive):
            status = Status.UNKNOWN
        lines = (said, *row.notes)
        done = Result(row.source, STEP, status, said, lines, seconds=seconds, title=row.name)
        self.listener(done.told())


def _status(row: Row) -> Status:
    return Status.FAILED if row.state in ("bad", "failed") else Status.OK


def results(rows: Sequence[Row]) -> list[Result]:
    """The judged rows as a run's results."""
    return [Result(row.source, STEP, _status(row), row.name) for row in rows]


def journals(own: str) -> list[str]:
    """The texts of the journals of `verify-rdma` but for the run `own`, newest first."""
    texts: list[tuple[int, str]] = []
    for path in journal.folder().glob("*-verify-rdma.jsonl"):
        if not path.name.startswith(own):
            with contextlib.suppress(OSError):
                text = path.read_text(encoding="utf-8", errors="replace")
                texts.append((path.stat().st_mtime_ns, text))
    return [text for _, text in sorted(texts, reverse=True)]
