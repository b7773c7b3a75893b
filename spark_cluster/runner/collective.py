"""Run an all-reduce in containers of a launch's own kind: started, followed, always removed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from spark_cluster.core.error import CheckFailed, Interrupted, SparkError
from spark_cluster.core.event import StepStarted
from spark_cluster.core.labels import LABEL
from spark_cluster.core.shell import ASK_DOCKER
from spark_cluster.core.units import GIB, human_bytes
from spark_cluster.engines.collective import NAME
from spark_cluster.engines.spec import ContainerSpec, docker_run
from spark_cluster.facts.docker import CONTAINERS, IMAGE
from spark_cluster.facts.memory import MEMORY
from spark_cluster.facts.rdma import COUNTERS
from spark_cluster.facts.storage import PORTS
from spark_cluster.rdma.collective import last_words
from spark_cluster.rdma.counters import CounterReading
from spark_cluster.runner.remote_program import Hosts

STEP = "collective"

#: What a rank needs: 1 GiB of its own, and CUDA, torch and NCCL beside it.
MEMORY_BYTES = 6 * GIB

#: Ports on the head that are tried for the ranks' meeting.
PORTS_TRIED = range(29571, 29671)

#: Seconds that docker has to start a container, beyond the time of measuring; between two looks;
#: that the other ranks have once one has failed.
_START, _PAUSE, _GRACE = 120, 2.0, 10.0

_LOG_BYTES = 8 * 1024**2

_STATUS = f"{ASK_DOCKER} inspect --format '{{{{.State.Status}}}} {{{{.State.ExitCode}}}}' {NAME}"
_LOG = f"{ASK_DOCKER} logs {NAME} 2>&1 | tail -c {_LOG_BYTES}"


def held_script(spec: ContainerSpec) -> str:
    """To hold: starts the container and prints `ready`, or `failed` and why; whatever ends the
    script, the container ends with it. One of before, whose end nobody saw, is removed first."""
    left = f"--filter name='^/{NAME}$' --filter label={LABEL}.recipe"
    return f"""\
_id=
_end() {{ [ -z "$_id" ] || timeout -k 5 60 docker rm --force --volumes "$_id" >/dev/null 2>&1; }}
trap _end EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM
for _old in $({ASK_DOCKER} ps --all --quiet {left} 2>/dev/null); do
  timeout -k 5 60 docker rm --force --volumes "$_old" >/dev/null 2>&1
done
_id={NAME}
if _said=$(timeout -k 5 {_START} {docker_run(spec)} 2>&1); then
  echo "ready"
else
  echo "failed $(printf '%s' "$_said" | tr '\\n' ' ' | tail -c 600)"
  exit 71
fi
cat >/dev/null
"""


@dataclass(frozen=True)
class Ran:
    """What came of it: the counters around it, each host's log, and why ranks did not come to
    their end, by host."""

    before: Mapping[str, CounterReading | None]
    after: Mapping[str, CounterReading | None]
    logs: Mapping[str, str]
    failures: Mapping[str, str]
    seconds: float


@dataclass
class AllReduce(Hosts):
    """The ranks of one session. `limit`: seconds that they may take."""

    limit: int

    def look(self, head: str, image: str) -> int:
        """One exec per host; the port on the head at which the ranks can meet.

        Raises CheckFailed for a host on which it must not or cannot run: nothing was started.
        """
        facts = (CONTAINERS, IMAGE, MEMORY, PORTS)
        for name, read in self.each(self.session.alive, lambda host: host.read(facts)).items():
            if isinstance(read, SparkError):
                raise read
            containers = read[CONTAINERS]
            if containers.error:
                raise CheckFailed(
                    f"{name}: docker says: {containers.error}", code="DOCKER001", host=name,
                    remedy="`spark-cluster doctor` looks at docker.",
                )  # fmt: skip
            busy = [each for each in containers.containers if each.running and each.name != NAME]
            if busy:
                recipe = busy[0].label("recipe")
                raise CheckFailed(
                    f"{name}: {busy[0].name} of {recipe} runs: its memory and its traffic are in "
                    "the way of a collective; nothing was started",
                    host=name,
                    code="SERVE006",
                    remedy=f"`spark-cluster teardown {recipe}` first, or measure the links alone: "
                    "leave --collective out.",
                )
            if not read[IMAGE].id:
                raise CheckFailed(
                    f"{image} is not on {name}", host=name, code="SERVE002",
                    remedy=f"`spark-cluster image sync {image}`, or `docker pull {image}` there.",
                )  # fmt: skip
            if read[MEMORY].available < MEMORY_BYTES:
                raise CheckFailed(
                    f"{name}: {human_bytes(read[MEMORY].available)} available, "
                    f"{human_bytes(MEMORY_BYTES)} needed for a collective",
                    host=name,
                    code="SERVE001",
                    remedy=f"End what uses memory on {name}: `docker ps` and `nvidia-smi` show it.",
                )
        return _free(self.session.hosts[head].facts[PORTS].listening, head)

    def run(self, specs: Sequence[ContainerSpec]) -> Ran:
        """Start all ranks, wait for their end, remove them. Raises Locked, Interrupted."""
        hosts = [spec.host for spec in specs]
        with self.locked(hosts, "verify-rdma"), contextlib.ExitStack() as stack:
            begun = time.monotonic()
            self.listener(StepStarted(STEP, "All-reduce in the recipe's image", tuple(hosts)))
            before = self._counters(hosts)
            failures: dict[str, str] = {}
            for spec in specs:
                held = stack.enter_context(self.holding(spec.host, held_script(spec)))
                line = held.message if isinstance(held, SparkError) else held.first_line
                if line != "ready":
                    why = line.removeprefix("failed").strip() or "it ended without a word"
                    failures[spec.host] = f"the container did not start: {why}"
                    break
            ended = {} if failures else self._follow(hosts)
            logs = self._logs(hosts) if not failures else {}
            after = self._counters(hosts)
            for host in hosts if not failures else ():
                if ended.get(host) != 0:
                    failures[host] = self._why(ended.get(host), logs.get(host, ""))
            return Ran(before, after, logs, failures, time.monotonic() - begun)

    def _follow(self, hosts: Sequence[str]) -> dict[str, int]:
        """The exit codes of the ranks that ended: all, or those until one failed."""
        ended: dict[str, int] = {}
        deadline = time.monotonic() + self.limit + _START
        while time.monotonic() < deadline and len(ended) < len(hosts):
            if self.session.stop.wait(_PAUSE):
                raise Interrupted(
                    "stopped before the collective came to its end",
                    remedy="No container was left running. Run the command again.",
                )
            waiting = [name for name in hosts if name not in ended and name in self.session.alive]
            if not waiting:
                break
            looks = self.each(waiting, lambda host: host.run(_STATUS, timeout=30))
            for name, look in looks.items():
                if not isinstance(look, SparkError) and (code := _exit(look.stdout)) is not None:
                    ended[name] = code
            if any(ended.values()):
                deadline = min(deadline, time.monotonic() + _GRACE)
        return ended

    def _logs(self, hosts: Sequence[str]) -> dict[str, str]:
        alive = [name for name in hosts if name in self.session.alive]
        looks = self.each(alive, lambda host: host.run(_LOG, timeout=60))
        return {n: look.stdout for n, look in looks.items() if not isinstance(look, SparkError)}

    def _counters(self, hosts: Sequence[str]) -> dict[str, CounterReading | None]:
        alive = [name for name in hosts if name in self.session.alive]
        reads = self.each(alive, lambda host: host.read((COUNTERS,)))
        return {n: r[COUNTERS] for n, r in reads.items() if not isinstance(r, SparkError)}

    def _why(self, code: int | None, log: str) -> str:
        said = last_words(log)
        if code is None:
            state = "it was still running when it was ended"
        elif code == 128 + 14:  # the script's own alarm
            state = f"not within {self.limit} s"
        else:
            state = f"exit code {code}"
        return f"{state}: {said}" if said else state


def _exit(text: str) -> int | None:
    """The exit code of `STATUS CODE`; None while it runs."""
    words = text.split()
    if len(words) == 2 and words[0] in ("exited", "dead") and words[1].isdecimal():
        return int(words[1])
    return None


def _free(listening: Collection[int], head: str) -> int:
    for port in PORTS_TRIED:
        if port not in listening:
            return port
    raise CheckFailed(
        f"{head}: no port from {PORTS_TRIED[0]} to {PORTS_TRIED[-1]} is free",
        host=head,
        code="SERVE005",
        remedy=f"`sudo ss -ltnp` on {head} shows what listens there.",
    )
