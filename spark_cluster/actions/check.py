"""Check a server: find it, ask for what its users need, and tell what came."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from spark_cluster.actions.bench_place import as_launched, find
from spark_cluster.actions.check_requests import CHECKS, Limits, Server
from spark_cluster.actions.operator import Operator
from spark_cluster.bench.client import Client, base_url
from spark_cluster.core.error import CheckFailed, InputError
from spark_cluster.core.event import Event, Listener, Note
from spark_cluster.core.secret import Secret
from spark_cluster.inventory.models import Inventory
from spark_cluster.recipes.models import Recipe
from spark_cluster.serving.check.answers import quoted
from spark_cluster.serving.check.judges import Judgement, Result, Wants


@dataclass(frozen=True)
class Asked:
    """What to check, and by which means. `only`: names of CHECKS, all if it is empty. `model`
    chooses one of several that a server has. `limits` are those of a request."""

    only: tuple[str, ...] = ()
    model: str | None = None
    key: Secret | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class CheckStarted(Event):
    """The server is known, and so are the checks to come. `engine` and `context` (tokens) as the
    server tells them; `recipe` is the one that was launched, null at an endpoint."""

    kind: str = field(default="check_started", init=False)
    endpoint: str
    model: str
    engine: str
    context: int | None
    recipe: str | None
    checks: tuple[str, ...]


@dataclass(frozen=True)
class Checking(Event):
    """A check begins."""

    kind: str = field(default="checking", init=False)
    passing: ClassVar[bool] = True
    check: str


@dataclass(frozen=True)
class Checked(Event):
    """A check is over. `what` came instead of what should have, or with it, or why it was skipped;
    `next` says what to do about a failure. Tokens as the server counts them, 0 where it does not
    or was not asked."""

    kind: str = field(default="check", init=False)
    check: str
    result: Result
    seconds: float
    prompt_tokens: int
    completion_tokens: int
    what: str
    next: str


@dataclass(frozen=True)
class CheckReport(Event):
    """All checks are over: `counts` by result, and the exit code, 4 if one failed."""

    kind: str = field(default="check_finished", init=False)
    counts: dict[str, int]
    exit_code: int
    checks: tuple[Checked, ...]


def only(given: str | None) -> tuple[str, ...]:
    """`chat,stream` as names of checks, in their order; all for None. Raises InputError."""
    if given is None:
        return tuple(CHECKS)
    names = {word.strip() for word in given.split(",") if word.strip()}
    unknown = sorted(names - CHECKS.keys())
    if unknown or not names:
        raise InputError(
            f"--only {given}: {f'no check is called {unknown[0]}' if unknown else 'names nothing'}",
            remedy=f"The checks are {', '.join(CHECKS)}.",
        )
    return tuple(name for name in CHECKS if name in names)


def at_endpoint(endpoint: str, asked: Asked, operator: Operator) -> CheckReport:
    """Check any OpenAI-compatible API. Nothing of it is changed.

    Raises InputError for no address or a model that it does not serve, Unreachable if nothing
    answers, CheckFailed if what answers is no such API.
    """
    return _run(base_url(endpoint), None, asked, operator.listener)


def launched(
    inventory: Inventory,
    recipe: str | None,
    hosts: Sequence[str] | None,
    asked: Asked,
    operator: Operator,
) -> CheckReport:
    """Check what runs on these hosts: the recipe that is named, else the newest launch.

    Raises as `at_endpoint` does, InputError for an unknown recipe, CheckFailed if nothing runs or
    another recipe, Unreachable if a host that might say is away.
    """
    with find(inventory, recipe, hosts, operator) as found:
        base, name = found.base, found.served.recipe
        chosen: Recipe | None = None
        try:
            chosen = as_launched(found.recipe(), found.served.head)
        except InputError as error:
            problem = f"the recipe that was launched is not known here: {error.message}"
            operator.listener(Note(problem))
        if found.served.has_key and asked.key is None:
            raise CheckFailed(
                f"the server of {name} asks for a key",
                remedy="--api-key-env NAME gives the key in that variable.",
            )
    return _run(base, name, asked, operator.listener, wants(chosen))


#: Arguments of vLLM's and SGLang's that only a model which takes images has.
_OF_IMAGES = ("mm-encoder-tp-mode", "mm-processor-kwargs", "mm-processor-cache-gb",
              "enable-multimodal")  # fmt: skip


def wants(recipe: Recipe | None) -> Wants:
    """What a recipe promises, as far as its arguments tell."""
    if recipe is None:
        return Wants()
    given = {name.replace("_", "-"): each.value for name, each in recipe.args.items()}
    parses = given.get("reasoning-parser") not in (None, False, "")
    if given.get("language-model-only") not in (None, False):
        return Wants(parses, False)
    sees = any(given.get(name) not in (None, False) for name in _OF_IMAGES)
    return Wants(parses, True if sees else None)


def _run(
    base: str, recipe: str | None, asked: Asked, tell: Listener, promised: Wants | None = None
) -> CheckReport:
    return asyncio.run(_checks(base, recipe, asked, tell, promised or Wants()))


async def _checks(
    base: str, recipe: str | None, asked: Asked, tell: Listener, promised: Wants
) -> CheckReport:
    chosen = asked.only or tuple(CHECKS)
    async with Client(base, key=asked.key) as client:
        known = await client.server(asked.model)
        server = Server(client, known, promised, asked.limits)
        engine = " ".join(filter(None, (known.owned_by, known.version)))
        tell(
            CheckStarted(base, quoted(known.model), quoted(engine), server.context, recipe, chosen)
        )
        done = []
        for name in chosen:
            tell(Checking(name))
            begun = time.perf_counter()
            checked = _checked(name, await CHECKS[name](server), time.perf_counter() - begun)
            done.append(checked)
            tell(checked)
    counts = Counter(each.result for each in done)
    code = CheckFailed.exit_code if counts["failed"] else 0
    words: tuple[Result, ...] = ("ok", "failed", "skipped")
    report = CheckReport({word: counts[word] for word in words}, code, tuple(done))
    tell(report)
    return report


def _checked(name: str, found: Judgement, seconds: float) -> Checked:
    return Checked(
        name,
        found.result,
        round(seconds, 3),
        found.prompt_tokens,
        found.completion_tokens,
        found.what,
        found.next,
    )
