"""Why a starting engine failed: patterns of its log, each with a reason and a remedy.

A pattern is what a person should read first, once the engine has ended or stands still. No pattern
by itself ends a launch: engines warn of what they survive (vLLM says on every host that has fewer
GPUs than the job has ranks that they may not suffice) and NCCL retries what failed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from spark_cluster.serving.signs import ENGINE, Grade, Sign, signs, table


@dataclass(frozen=True)
class Failure:
    """`reason` and `remedy` are what a person reads.

    order        its place in the table: what is nearer to a cause comes first
    grade        how near that is; a consequence tells only that something else has failed
    code         the diagnosis that `explain` knows
    line         the number of the line that says so, of those of the last start
    time         seconds since 1970 by the clock of the host whose log it is; None if unknown
    rank         that it is about, or `address` of its host, if the line names them: Ray's driver
                 repeats what the workers say
    """

    reason: str
    remedy: str
    order: int = 0
    grade: Grade = "cause"
    code: str = ENGINE
    line: int = -1
    time: float | None = None
    rank: int | None = None
    address: str = ""

    @property
    def consequence(self) -> bool:
        """Whether something else has failed before."""
        return self.grade == "consequence"


#: What an exception tells that only repeats another one, or that Ray's end makes of itself.
_REPEATS = re.compile(
    r"Engine core initialization failed|Executor failed\.|EngineDeadError|EngineGenerateError"
    r"|WorkerProc initialization failed|Failed to find a corresponding actor handle"
    r"|ActorHandleNotFoundError|cannot pickle|ray\.exceptions\.RayTaskError|ActorDiedError"
    r"|RayActorError|Worker failed with error|Connection closed by peer|remote process exited"
    r"|CancelledError|KeyboardInterrupt|SystemExit",
    re.ASCII,
)

_EXCEPTION = re.compile(
    r"(?:^|[\s\]])((?:[a-zA-Z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Interrupt|Exit)(?:: .*)?)$",
    re.ASCII,
)
#: After it nothing goes on in that process; what comes later is what Ray forwards late.
_FATAL = re.compile(
    r"EngineCore (?:failed to start|encountered a fatal error)\."
    r"|WorkerProc (?:failed to start|hit an exception)\.",
    re.ASCII,
)
#: pydantic's exception has its reason in the line after it.
_VALIDATION = re.compile(r"ValidationError: \d+ validation errors? for ", re.ASCII)
_VALUE_ERROR = re.compile(r"\s(Value error, .*?)(?: \[type=|$)", re.ASCII)
_ADDRESS = re.compile(r"\bip=(\d{1,3}(?:\.\d{1,3}){3})\b", re.ASCII)


def find(
    lines: Sequence[str], last_milestone: int, times: Sequence[float | None] = ()
) -> Failure | None:
    """The failure that `lines` tell of: the first sign of the table that one of them holds.

    `last_milestone` is the number of the last line of progress, -1 if there is none; `times` are
    those of the lines, where they are known.
    """
    last = {order: number for number, line in enumerate(lines) for order in _signs(line)}
    for order, sign in enumerate(signs()):
        number = last.get(order, -1)
        if number < 0 or (not sign.final and number < last_milestone and sign.reason):
            continue
        if sign.reason:
            reason, named = sign.told(lines[number])
        elif found := _exception(sign, lines, last_milestone):
            (number, reason), named = found, {}
        else:
            continue
        return _failure(sign, order, reason, named, lines, number, times)
    return None


def standstill(
    lines: Sequence[str], last_milestone: int, times: Sequence[float | None] = ()
) -> Failure | None:
    """What is meant if nothing follows the last lines for a long time: an engine's known places
    to stand. Every start comes past them, so it is no failure by itself."""
    for number in range(len(lines) - 1, last_milestone, -1):
        for sign in table().standstills:
            if sign.holds(lines[number]):
                reason, named = sign.told(lines[number])
                return _failure(sign, len(signs()), reason, named, lines, number, times)
    return None


def warnings(lines: Sequence[str]) -> tuple[str, ...]:
    """What the engine warned of and survived, once each."""
    known = table().warnings
    found = [sign.told(line)[0] for line in lines for sign in known if sign.holds(line)]
    return tuple(dict.fromkeys(found))


def _failure(
    sign: Sign,
    order: int,
    reason: str,
    named: Mapping[str, str],
    lines: Sequence[str],
    number: int,
    times: Sequence[float | None],
) -> Failure:
    rank = named.get("rank")
    return Failure(
        reason,
        sign.remedy,
        order,
        sign.grade,
        sign.code,
        number,
        time=times[number] if times else None,
        rank=int(rank) if rank else None,
        address=named.get("address") or _address(lines, number),
    )


@lru_cache(maxsize=8192)
def _signs(line: str) -> tuple[int, ...]:
    """The signs that a line holds. A launch reads the same lines again and again."""
    return tuple(order for order, sign in enumerate(signs()) if sign.holds(line))


def _exception(begins: Sign, lines: Sequence[str], after: int) -> tuple[int, str] | None:
    """The first exception of a traceback that `begins`, after what is fatal or else after the last
    progress, that does not only repeat another one: what follows it is raised while it is
    handled."""
    fatal = (number for number, line in enumerate(lines) if _FATAL.search(line))
    begun = None
    for number in range(next(fatal, after + 1), len(lines)):
        line = lines[number]
        if begins.holds(line):
            begun = number if begun is None else begun
            continue
        found = _EXCEPTION.search(line) if begun is not None else None
        if found is None or "raise " in line or _REPEATS.search(found[1]):
            continue
        said = found[1]
        if _VALIDATION.search(said) and number + 1 < len(lines):
            more = _VALUE_ERROR.search(lines[number + 1])
            said += f": {more[1]}" if more else ""
        return number, f"an exception: {said[:200]}"
    if begun is None or any(_EXCEPTION.search(line) for line in lines[begun:]):
        return None  # none, or only such as repeat another
    return begun, "an exception (see the log)"


def _address(lines: Sequence[str], number: int) -> str:
    """The host that the line is about: by its own words, or by those of Ray's error whose cause it
    is, which stands at most a traceback above."""
    found = _ADDRESS.search(lines[number])
    for above in range(number - 1, max(-1, number - 80), -1):
        if found:
            break
        if "RayTaskError" in lines[above]:
            found = _ADDRESS.search(lines[above])
            break
    return found[1] if found else ""
