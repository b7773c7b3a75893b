"""Copy models and images from node to node: servers and fetchers that end whatever happens."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from spark_cluster.core.error import Interrupted, SparkError, StepFailed
from spark_cluster.core.event import Note, Progress, StepStarted
from spark_cluster.core.result import Result, Status
from spark_cluster.core.secret import Secret
from spark_cluster.facts.base import Fact
from spark_cluster.facts.hardware import HARDWARE
from spark_cluster.facts.lock import FILES_LOCK
from spark_cluster.facts.probe import PRELUDE
from spark_cluster.inventory.models import Inventory
from spark_cluster.runner.remote_program import Hosts, follow, look, program
from spark_cluster.runner.session import HostSession
from spark_cluster.transfer import scripts
from spark_cluster.transfer.node import hub
from spark_cluster.transfer.node.streams import TOKEN_BYTES
from spark_cluster.transfer.payload import Order, Payload
from spark_cluster.transfer.plan import Route
from spark_cluster.transfer.rates import Copied, Downloaded, Pace, Usage, iperf_gbits

#: Where an encrypted copy is served: only `ssh -W` on the source reaches it.
_LOOPBACK = "127.0.0.1"
_IPERF_SECONDS = 3


@dataclass
class Transfer(Hosts):
    """The copies of one session. `encrypt`: through the nodes' own SSH (`spark-cluster mesh`).
    `iperf`: measure each way with iperf3 before the copy."""

    encrypt: bool = False
    iperf: bool = False
    copied: list[Copied] = field(default_factory=list)
    downloaded: list[Downloaded] = field(default_factory=list)

    def spread(
        self,
        verb: str,
        inventory: Inventory,
        payload: Payload,
        waves: Sequence[Sequence[Route]],
        read: Fact[object],
        arrived: Callable[[Any], str],
    ) -> list[Result]:
        """`copy`, while this run holds the files of all hosts in it. Raises Locked, too."""
        used = {host for wave in waves for way in wave for host in (way.source, way.sink)}
        hosts = [host for host in inventory.hosts if host in used]
        with self.locked(hosts, verb, file=FILES_LOCK):
            return self.copy(payload, waves, read, arrived)

    def copy(
        self,
        payload: Payload,
        waves: Sequence[Sequence[Route]],
        read: Fact[object],
        arrived: Callable[[Any], str],
    ) -> list[Result]:
        """All waves. After each, every sink is read again: `arrived` says what is still wrong
        there, or nothing. What waits for a sink that failed is left out.

        Raises Interrupted; then nothing of ours runs on, and what was copied stays.
        """
        results: list[Result] = []
        failed: set[str] = set()
        for number, wave in enumerate(waves, 1):
            for way in [way for way in wave if way.source in failed]:
                failed.add(way.sink)
                results.append(self._tell(payload, way.sink, _left_out(way)))
            wave = [way for way in wave if way.sink not in failed]
            self.listener(StepStarted(payload.step, payload.title, tuple(w.sink for w in wave)))
            for way, outcome in self._wave(payload, wave):
                done = self._result(payload, way, outcome, read, arrived)
                if not done.status.good:
                    failed.add(way.sink)
                results.append(done)
            if self.session.stop.requested and (failed or number < len(waves)):
                raise Interrupted(
                    "stopped before the last copy",
                    remedy="Nothing was left running. Run the command again to go on.",
                )
        return results

    def _result(
        self,
        payload: Payload,
        way: Route,
        outcome: Copied | SparkError,
        read: Fact[object],
        arrived: Callable[[Any], str],
    ) -> Result:
        """The second reading decides, not the program that says that it copied."""
        if isinstance(outcome, Copied):
            self.copied.append(outcome)
            facts = self.on(way.sink, lambda host: host.read([read]))
            if isinstance(facts, SparkError):
                outcome = facts
            elif wrong := arrived(facts[read]):
                outcome = StepFailed(
                    f"after the copy: {wrong}",
                    host=way.sink,
                    step=payload.step,
                    code="IMAGE001" if payload.step == "image-copy" else None,
                    remedy="Run the command again. If it stays so, look for another program that "
                    "writes there.",
                )
        return self._tell(payload, way.sink, outcome)

    def _tell(self, payload: Payload, sink: str, outcome: Copied | SparkError) -> Result:
        if isinstance(outcome, SparkError):
            outcome.message = payload.named(outcome.message)
            return self.finish(sink, payload.step, payload.title, error=outcome)
        return self.finish(
            sink,
            payload.step,
            payload.title,
            f"from {outcome.source}: {outcome.summary}",
            *(outcome.details if outcome.received else ()),
            changed=bool(outcome.received or outcome.placed),
            seconds=outcome.seconds,
        )

    def finish(
        self,
        host: str,
        step: str,
        title: str,
        *lines: str,
        changed: bool = False,
        seconds: float = 0.0,
        error: SparkError | None = None,
    ) -> Result:
        """What became of a host, told and as a result; the first line is the summary."""
        status = Status.CHANGED if changed else Status.OK
        if error is not None:
            lines = (error.message,)
            status = Status.FAILED if host in self.session.alive else Status.UNKNOWN
        said = lines[0] if lines else ""
        result = Result(host, step, status, said, lines, error, seconds, title)
        self.listener(result.told())
        return result

    def _wave(
        self, payload: Payload, wave: Sequence[Route]
    ) -> list[tuple[Route, Copied | SparkError]]:
        """The copies of a wave, all at once, and what became of each."""
        token = Secret(secrets.token_hex(TOKEN_BYTES // 2))
        iperf = {way.sink: self._iperf(way, payload.streams) for way in wave} if self.iperf else {}
        servers: dict[str, scripts.Started | SparkError] = {}
        found: dict[str, Copied | SparkError] = {}
        with ExitStack() as stack:
            for source in dict.fromkeys(way.source for way in wave):
                ways = [way for way in wave if way.source == source]
                addresses = dict.fromkeys(a for way in ways for a in way.addresses)
                order = payload.serve(
                    [_LOOPBACK] if self.encrypt else list(addresses), token.reveal()
                )
                servers[source] = self._held(stack, source, order)
            ready: dict[str, tuple[Route, Order]] = {}
            for way in wave:
                server = servers[way.source]
                if isinstance(server, SparkError):
                    found[way.sink] = server
                    continue
                peers = [(str(a), int(p)) for a, p in server.said.get("ready", ())]
                own = [peer for peer in peers if self.encrypt or peer[0] in way.addresses]
                through = way.source if self.encrypt else None
                ready[way.sink] = (way, payload.fetch(own, token.reveal(), through))

            def fetch(host: HostSession) -> Mapping[str, Any]:
                return self._follow(host, ready[host.name][1], payload.step)

            outcomes = self.each(ready, fetch)
            usage = {
                name: self.on(name, partial(look, started=started))
                for name, started in servers.items()
                if isinstance(started, scripts.Started)
            }
        for sink, outcome in outcomes.items():
            if isinstance(outcome, SparkError):
                found[sink] = outcome
                continue
            way = ready[sink][0]
            seen = usage.get(way.source)
            said = seen.said.get("usage", {}) if isinstance(seen, scripts.Look) else {}
            found[sink] = self._copied(way, payload, outcome, Usage.of(said), iperf.get(sink))
        return [(way, found[way.sink]) for way in wave]

    def _copied(
        self,
        way: Route,
        payload: Payload,
        done: Mapping[str, Any],
        source: Usage,
        iperf: float | None,
    ) -> Copied:
        return Copied(
            way.source,
            way.sink,
            int(done["received"]),
            int(done.get("there", 0)),
            int(done.get("placed", 0)),
            float(done["seconds"]),
            payload.streams,
            dict(done["spent"]),
            source,
            Usage.of(done["usage"]),
            self.wire(way),
            iperf,
        )

    def wire(self, way: Route) -> float | None:
        """The links' own speed in Gb/s, over all ways; None if a NIC does not say."""
        speeds = []
        for source, sink in way.ways:
            for name, interface in ((way.source, source.interface), (way.sink, sink.interface)):
                facts = self.session.hosts[name].facts
                nic = facts[HARDWARE].nics.get(interface) if HARDWARE in facts else None
                if nic is None or not nic.speed or nic.speed < 0:
                    return None
                speeds.append(nic.speed / 1000)
        return sum(min(pair) for pair in zip(speeds[::2], speeds[1::2], strict=True))

    def _held(self, stack: ExitStack, name: str, order: Order) -> scripts.Started | SparkError:
        """A program on a host for as long as the stack is open."""
        opened = ExitStack()
        started = self.on(name, lambda host: opened.enter_context(program(host, order)))
        stack.callback(lambda: self.session.each([name], lambda _: opened.close()))
        return started

    def _follow(self, host: HostSession, order: Order, step: str) -> Mapping[str, Any]:
        pace = Pace()

        def tell(said: Mapping[str, Any], seconds: float) -> None:
            self.listener(Progress(host.name, step, pace.text(said, seconds), seconds))

        return follow(host, order, self.listener, tell, self.session.stop.wait)

    def _iperf(self, way: Route, streams: int) -> float | None:
        """What iperf3 reaches from source to sink, in Gb/s; None, and why is told, if nothing."""
        addresses = [sink.ip for _, sink in way.ways]
        script = scripts.iperf_server(addresses)
        with self.holding(way.sink, script) as held:
            if isinstance(held, SparkError):
                return None
            ports = scripts.iperf_ports(held.first_line)
            if len(ports) != len(addresses):
                why = held.first_line.removeprefix("failed ") or "iperf3 did not start"
                self.listener(Note(f"iperf3: {why}", way.sink))
                return None
            client = scripts.iperf_clients(addresses, ports, streams, _IPERF_SECONDS)
            limit = _IPERF_SECONDS + 30.0
            done = self.on(way.source, lambda host: host.run(client, timeout=limit))
        if isinstance(done, SparkError):
            return None
        reached = iperf_gbits(done.stdout)
        if reached is None:
            said = done.stderr.strip() or done.stdout.strip() or "it gave no figure"
            last = said.rpartition("\n")[2]
            self.listener(Note(f"iperf3: {last[:200]}", way.source))
        return reached

    # On one host

    def pull(
        self, host: str, order: Order, step: str, title: str
    ) -> Mapping[str, Any] | SparkError:
        """Download on one host and verify there; what the program says of it, or why not."""
        self.listener(StepStarted(step, title, (host,)))
        done = self.on(host, lambda one: self._follow(one, order, step))
        if not isinstance(done, SparkError):
            got = Downloaded(host, int(done["received"]), float(done["seconds"]))
            self.downloaded.append(got)
        return done

    def ask(self, host: str, order: Order) -> Mapping[str, Any] | SparkError:
        """What a program that only looks says on one host, or why not."""
        return self.on(
            host,
            lambda one: follow(one, order, self.listener, lambda *_: None, self.session.stop.wait),
        )

    def verify(
        self, folder: str, hosts: Sequence[str], title: str
    ) -> dict[str, Mapping[str, Any] | SparkError]:
        """Hash every file of a model on these hosts at once."""
        self.listener(StepStarted("model-verify", title, tuple(hosts)))
        work = (hub, "verify", {"folder": folder})
        return self.each(hosts, lambda host: self._follow(host, work, "model-verify"))

    def identify(self, folder: str, commit: str, host: str, title: str) -> dict[str, str]:
        """The sha256 of the files of a commit that have no hash on this host. Raises SparkError."""
        self.listener(StepStarted("model-verify", title, (host,)))
        work = (hub, "identify", {"folder": folder, "commit": commit})
        done = self.on(host, lambda one: self._follow(one, work, "model-verify"))
        if isinstance(done, SparkError):
            raise done
        return {str(name): str(digest) for name, digest in done["digests"].items()}

    def remove(self, job: Mapping[str, Any], host: HostSession) -> int:
        """Remove a model in the host's own thread; the bytes that it held."""
        done = host.run(PRELUDE + scripts.once(hub, "remove", job), timeout=600)
        said = scripts.look("ended\n" + done.stdout).said
        if "done" not in said:
            why = str(said.get("failed") or done.stderr.strip() or "it ended without a word")
            raise StepFailed(why, host=host.name, remedy="See what the message names; run again.")
        return int(said["done"]["bytes"])


def _left_out(way: Route) -> SparkError:
    return StepFailed(
        f"left out: it would come from {way.source}, which did not get it",
        host=way.sink,
        remedy="Mend that and run the command again.",
    )
