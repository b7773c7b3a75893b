"""Three fake Sparks of the shipped inventory, healthy unless a test says otherwise."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from spark_cluster import places
from spark_cluster.core.error import Unreachable
from spark_cluster.core.event import Event
from spark_cluster.core.labels import LABEL
from spark_cluster.core.secret import Secret
from spark_cluster.engines.placement import Placement, place
from spark_cluster.engines.spec import Deployment
from spark_cluster.engines.table import ENGINES
from spark_cluster.facts.base import Facts, ProbeContext
from spark_cluster.facts.launch_snapshot import NOTE
from spark_cluster.facts.probe import BEGIN
from spark_cluster.facts.table import FACTS
from spark_cluster.inventory import loader as inventories
from spark_cluster.inventory.models import Inventory
from spark_cluster.playbook import loader as playbooks
from spark_cluster.recipes import loader as recipes
from spark_cluster.recipes.models import Recipe
from spark_cluster.runner.request import RunRequest
from spark_cluster.runner.run import Run
from spark_cluster.runner.session import HostSession, Session
from spark_cluster.steps import registry
from spark_cluster.steps.netplan import render
from spark_cluster.steps.view import Options, View
from spark_cluster.transport.protocol import Become
from tests.fake_transport import FakeConnector, FakeHost

DATA = Path(__file__).parent / "data"
RUN = "20261121-031500-9f3a"
PAIR = ("spark-2", "spark-3")
RECIPE = "qwen3-vl-235b"

#: The path of the shipped inventory, for `-i`.
INVENTORY = str(places.shipped("inventory") / inventories.FILE)

#: Names a fact in every probe, and in what it prints, there after `@@`.
MARK = "spark-cluster-fact "


@functools.cache
def inventory() -> Inventory:
    """The inventory that ships with the program."""
    return inventories.load(Path(INVENTORY))


@functools.cache
def deployment(name: str = RECIPE) -> Deployment:
    """A shipped recipe on the shipped inventory's pair, or on its head."""
    recipe = recipes.load(str(places.shipped("playbooks") / "recipes" / f"{name}.yaml"), {})
    placement = placed(recipe)
    return ENGINES[recipe.engine](recipe, placement, RUN, recipes.file_contents(recipe))


@functools.cache
def templates() -> dict[str, str]:
    """The netplan templates that ship with the program."""
    folder = places.shipped("netplan")
    return {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.j2")}


def journal(folder: Path) -> list[Path]:
    """The journals of what the fixture `cli` ran in this temporary folder."""
    return sorted((folder / "home/.local/state/spark-cluster/journal").glob("*.jsonl"))


# What the hosts answer


def recorded(name: str) -> str:
    """A recorded output of a fact's commands."""
    return (DATA / "facts" / name).read_text(encoding="utf-8")


@functools.cache
def healthy(fact: str, host: str) -> str:
    """What the fact's shell prints on a healthy host; see data/spark/README.md.

    A fact without a file there has read nothing: no step of these tests needs it.
    """
    if fact == "netplan":
        return _netplan(host)
    folder = DATA / "spark"
    own = folder / host / f"{fact}.txt"
    path = own if own.exists() else folder / f"{fact}.txt"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    number, peer = (11, 10) if host == "spark-3" else (10, 11)
    words = {
        "@NAME@": host,
        "@OWN@": str(number),
        "@OWNHEX@": f"{number:02x}",
        "@PEER@": str(peer),
        "@LINK@": str(number + 1),
    }
    for word, value in words.items():
        text = text.replace(word, value)
    return text


def _netplan(host: str) -> str:
    lines = ["active"]
    for name in sorted(templates()):
        content = rendered(name, host, "NetworkManager")
        if content:
            lines += [f"@@file 600 /etc/netplan/{name.removesuffix('.j2')}", content]
    lines += [
        "@@file 644 /lib/netplan/00-network-manager-all.yaml",
        "network:\n  version: 2\n  renderer: NetworkManager\n",
    ]
    return "\n".join(lines) + "\n"


def rendered(template: str, host: str, renderer: str) -> str:
    """A shipped template for a host."""
    return render(template, templates()[template], _bare_view(host), renderer)


def _bare_view(host: str) -> View:
    return View(inventory().hosts[host], inventory(), Facts(), {}, Facts(), templates=templates())


def running(
    host: str,
    *,
    serving: bool = True,
    state: str = "running",
    status: int = 0,
    recipe: str = RECIPE,
) -> str:
    """`containers` on a host on which the deployment runs, as docker's templates print it."""
    spec = deployment(recipe).container(host)
    labels = {**spec.labels, f"{LABEL}.spec": spec.digest}
    lines = [
        f"@@c ours 4f5e /{spec.name} {state} {status} 2026-11-21T03:15:42.123456789Z "
        + json.dumps(labels, separators=(",", ":"))
    ]
    if state == "running":
        lines.append(f"p 4211    {' '.join(spec.command)}")
        if serving and spec.rank == 0:
            lines.append("p 4877    /usr/bin/python3 /usr/local/bin/vllm serve QuantTrio/Qwen3")
    return "\n".join(lines) + "\n"


def ray_nodes() -> str:
    """`ray` on the head when both hosts have joined: a recorded answer of Ray 2.60."""
    answer = (DATA / "ray" / "ray_api_v0_nodes.json").read_text(encoding="utf-8")
    return f"@@ray nodes\n{answer}\n"


SERVER_UP = (
    "(APIServer pid=1) INFO:     Application startup complete.\n@@health\n\n@@http 200 0.002 s \n"
)

ONE_TOKEN = (
    '{"choices":[{"index":0,"text":" one"}],'
    '"usage":{"prompt_tokens":6,"completion_tokens":1,"total_tokens":7}}\n'
    "@@http 200 0.21 s \n"
)


def tokens(count: int) -> str:
    """What a completion of `count` tokens prints."""
    body = {"choices": [{"text": "x"}], "usage": {"prompt_tokens": 6, "completion_tokens": count}}
    return f"{json.dumps(body)}\n@@http 200 1.50 s \n"


#: What a token moves over a rail of the shipped recipe, each way, in units of four octets.
TOKEN_UNITS = 94 * 2 * 4096 * 2 // 4


def moved(text: str, device: str, units: int) -> str:
    """The `counters` text after `device` has sent and received `units` of four octets."""
    pattern = rf"({device}/ports/1/counters/port_(?:xmit|rcv)_data):(\d+)"
    return re.sub(pattern, lambda found: f"{found[1]}:{int(found[2]) + units}", text)


class Spark(FakeHost):
    """A fake host that answers probes with `texts`, by fact.

    `effect(part, fact=text)`: a script with `part` in its commands changes what is read after it.
    `carries`: what its rail sends and receives between two readings, in units of four octets. The
    lock is free, and every script of the network guard succeeds.
    """

    carries = 0

    def __init__(self, name: str, texts: Mapping[str, str] | None = None) -> None:
        super().__init__(name)
        self.texts = {fact: healthy(fact, name) for fact in FACTS} | dict(texts or {})
        self._effects: list[tuple[str, dict[str, str]]] = []
        self.on(MARK, self.probe)
        self.on("exec 9>>", "taken\n")
        self.on("/confirmed\n", "")
        self.on("-revert /bin/sh", "")
        self.on("/reverted ]", "")
        self.on("if ! netplan generate", self._armed)
        self.on("/v1/completions", ONE_TOKEN)

    def effect(self, part: str, **texts: str) -> Spark:
        self._effects.append((part, texts))
        return self

    def _apply(self, commands: str) -> None:
        for part, texts in self._effects:
            if part in commands:
                self.texts |= texts

        note = re.search(rf"{NOTE}\S* <<'(\w+)'\n(.*?)\1\n", commands, re.DOTALL)
        if note is not None:
            self.texts["launch-snapshot"] = note[2]
        if f"rm -f {NOTE}" in commands:
            self.texts["launch-snapshot"] = ""

    def _armed(self, script: str) -> str:
        self._apply(script)
        return ""

    def probe(self, script: str) -> str:
        """Carry the commands out, then print the facts that the script asks for."""
        self._apply(script.partition(BEGIN)[0])
        names = re.findall(rf"{MARK}(\S+?)'", script)
        if self.carries and "counters" in names:
            self.texts["counters"] = moved(self.texts["counters"], "rocep1s0f1", self.carries)
        return "".join(f"\n@@{MARK}{name}\n{self.texts.get(name, '')}" for name in names)

    @property
    def runs(self) -> list[str]:
        """The scripts that were run: held locks are not among them."""
        return [ran.script for ran in self.ran if ran.timeout is not None]

    @property
    def changes(self) -> list[str]:
        """The commands of the scripts that did more than read."""
        commands = [script.partition(BEGIN)[0] for script in self.runs]
        return [text for text in commands if "set -eu" in text or "systemctl" in text]


def swapped(host: str = "spark-2") -> Spark:
    """A healthy host with its swap on, until it is turned off."""
    on = healthy("swap", host).replace(
        "Priority\n", "Priority\n/swap.img                               file\t8388604\t0\t-2\n"
    )
    return Spark(host, {"swap": on}).effect("swapoff /swap.img", swap=healthy("swap", host))


def unlimited(host: str = "spark-2") -> Spark:
    """A healthy host whose memlock file is missing, until it is written."""
    whole = healthy("access", host)
    without = whole.partition("# Written by spark-cluster: RDMA buffers")[0]
    return Spark(host, {"access": without}).effect("limits.d", access=whole)


def bare(host: str = "spark-2") -> Spark:
    """A healthy host without our netplan files, until they are applied."""
    return Spark(host, {"netplan": "active\n"}).effect(
        "if ! netplan generate", netplan=healthy("netplan", host)
    )


def sparks(*names: str) -> list[Spark]:
    """Healthy hosts, all three by default."""
    return [Spark(name) for name in names or inventory().hosts]


def down(name: str) -> Spark:
    """A host that cannot be reached."""
    host = Spark(name)
    host.down = Unreachable(f"{name}: no route to host", host=name, remedy="Is it on?")
    return host


def launching(name: str) -> Spark:
    """A healthy host of the pair on which docker run and docker exec do what they should."""
    host = Spark(name).effect("docker run", containers=running(name, serving=False))
    host.carries = TOKEN_UNITS
    host.effect("sitecustomize.py", files=deployment().files[0].path)
    if name == "spark-2":
        host.effect("docker run", ray=ray_nodes())
        host.effect("docker exec --detach", containers=running(name), server=SERVER_UP)
    return host


def serving(name: str) -> Spark:
    """A host of the pair whose rank runs."""
    return Spark(name, {"containers": running(name)})


def torn(name: str) -> Spark:
    """A serving host until its container is removed."""
    return serving(name).effect("docker rm --force", containers="")


# Views and runs


def context(host: str = "spark-2", *, deployed: bool = False) -> ProbeContext:
    """What a fact's script is made for; `deployed`: with the recipe."""
    return ProbeContext(inventory().hosts[host], inventory(), deployment() if deployed else None)


def facts(host: str, texts: Mapping[str, str] | None = None) -> Facts:
    """Every fact of a healthy host, `texts` in place of some."""
    given = {name: healthy(name, host) for name in FACTS} | dict(texts or {})
    return Facts({name: fact.parse(given[name]) for name, fact in FACTS.items()})


def view(
    host: str = "spark-2",
    texts: Mapping[str, Mapping[str, str]] | None = None,
    *,
    first: Mapping[str, str] | None = None,
    before: Mapping[str, Mapping[str, str]] | None = None,
    output: str | None = None,
    options: Options | None = None,
    recipe: str = RECIPE,
    secrets: Mapping[str, str] | None = None,
) -> View:
    """What a step sees of `host`; `texts` by host, `first` are the host's at the run's begin.
    `secrets` are those of the controller's environment."""
    given = texts or {}
    every = {name: facts(name, given.get(name)) for name in PAIR}
    every[host] = every.get(host) or facts(host, given.get(host))
    return View(
        host=inventory().hosts[host],
        inventory=inventory(),
        facts=every[host],
        all_facts=every,
        first=facts(host, first),
        deployment=replace(
            deployment(recipe),
            secret_values={name: Secret(value) for name, value in (secrets or {}).items()},
        ),
        templates=templates(),
        options=options or Options(),
        before=None if before is None else {n: facts(n, before.get(n)) for n in PAIR},
        output=output,
    )


@dataclass
class Stage:
    """A session over fake hosts, and what was told during a run."""

    session: Session
    events: list[Event]
    run: Run

    def told(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]


def stage(
    hosts: Iterable[FakeHost],
    playbook: str = "bootstrap",
    *,
    settings: Sequence[str] = (),
    path: Path | None = None,
    options: Options | None = None,
    preempt: tuple[str, ...] = (),
    carry_on: bool = False,
) -> Stage:
    """A connected session, ready to plan and apply a playbook."""
    there = list(hosts)
    deployed = deployment() if playbook == "launch" else None
    sessions = [
        HostSession(
            inventories.target(inventory(), host.name),
            ProbeContext(inventory().hosts[host.name], inventory(), deployed),
        )
        for host in there
    ]
    session = Session(sessions, FakeConnector(there), Become())
    events: list[Event] = []
    session.connect(events.append)
    bound = playbooks.load(
        path or places.shipped("playbooks") / f"{playbook}.yaml", registry(), settings
    )
    request = RunRequest(
        verb=playbook,
        playbook=playbook,
        hosts=[host.name for host in there],
        inventory=inventory(),
        deployment=deployed,
        options=options or Options(),
        all_hosts_needed=False,
        preempt=preempt,
        carry_on=carry_on,
        run=RUN,
    )
    run = Run(request, session, bound, events.append, templates=templates())
    return Stage(session, events, run)


def switched() -> Inventory:
    """Four Sparks with one cable each to a switch."""
    hosts = {
        f"spark-{n}": {
            "rails": [
                {"interface": f"enp1s0f{n % 2}np{n % 2}", "device": f"rocep1s0f{n % 2}",
                 "address": f"192.168.100.{n}/24"}
            ]
        }
        for n in range(1, 5)
    }  # fmt: skip
    return Inventory.model_validate({"version": 1, "hosts": hosts, "groups": {"all": list(hosts)}})


def placed(recipe: Recipe) -> Placement:
    """The recipe on the pair or on its head; one for more hosts around a switch."""
    if recipe.nodes > 2:
        four = switched()
        return place(recipe, four, "all", four.groups["all"][: recipe.nodes])
    return place(recipe, inventory(), "pair", PAIR[: recipe.nodes])
