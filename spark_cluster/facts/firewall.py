"""The packet filter, as `iptables -S` and `nft -j list ruleset` tell it, in one form.

Only IPv4 and only what decides: chains, rules, and the conditions that doctor/packets.py can
judge. A condition that is not understood is kept as UNKNOWN, never dropped.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from spark_cluster.core.framing import MARK, READ
from spark_cluster.core.strangers_json import loads, mapping, objects
from spark_cluster.facts.base import Fact, always

UNKNOWN = "unknown"

_NFT = f"{READ}nft"


@dataclass(frozen=True)
class Condition:
    """`field` is iif, oif, proto, dport, saddr, daddr, state or UNKNOWN; it holds if one of
    `values` fits (a port range is `a:b`), or none does when `negated`."""

    field: str
    values: tuple[str, ...] = ()
    negated: bool = False


@dataclass(frozen=True)
class Rule:
    """`target` is accept, drop, return, a chain's key, or empty for a rule that only counts."""

    conditions: tuple[Condition, ...]
    target: str
    text: str


@dataclass(frozen=True)
class Chain:
    """`hook` is input, forward or output on a base chain; its `policy` is accept or drop."""

    name: str
    hook: str = ""
    policy: str = "accept"
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True)
class FirewallFact:
    """By a key that is unique over tables: `ip filter INPUT`. `error` says why nothing is known."""

    chains: dict[str, Chain] = field(default_factory=dict)
    error: str = ""

    def hooked(self, hook: str) -> Iterator[tuple[str, Chain]]:
        """The base chains at a hook: a packet must pass all of them."""
        return ((key, chain) for key, chain in self.chains.items() if chain.hook == hook)


_SCRIPT = f"""\
if command -v iptables >/dev/null; then iptables -w 5 -S 2>&1; fi
echo "{MARK}nft"
if command -v nft >/dev/null; then nft -j list ruleset 2>/dev/null; fi
true
"""


def parse(text: str) -> FirewallFact:
    first, _, second = f"\n{text}".partition(f"\n{_NFT}\n")
    chains = _iptables(first)
    error = "" if chains else next((line for line in first.split("\n") if line.strip()), "")
    # What iptables-nft shows is in nft's answer too, in a form with opaque expressions.
    known = {key for key in chains if key.startswith("ip filter ")}
    for key, chain in _nft(second).items():
        if not known or not key.startswith("ip filter "):
            chains[key] = chain
    return FirewallFact(chains, error if not chains else "")


# iptables -S

_HOOKS = {"INPUT": "input", "FORWARD": "forward", "OUTPUT": "output"}
_TARGETS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "drop", "RETURN": "return"}
_SILENT = ("LOG", "NFLOG", "MARK", "CONNMARK", "TRACE", "AUDIT", "SET", "NFQUEUE")
_FIELDS = {
    "-i": "iif", "-o": "oif", "-p": "proto", "-s": "saddr", "-d": "daddr",
    "--dport": "dport", "--dports": "dport", "--ctstate": "state", "--state": "state",
    "--dst-type": "dst-type",
}  # fmt: skip


def _key(chain: str) -> str:
    return f"ip filter {chain}"


def _iptables(text: str) -> dict[str, Chain]:
    policies: dict[str, str] = {}
    rules: dict[str, list[Rule]] = {}
    for line in text.split("\n"):
        try:
            words = shlex.split(line)
        except ValueError:
            continue
        if len(words) == 3 and words[0] == "-P":
            policies[words[1]] = "drop" if words[2] == "DROP" else "accept"
            rules.setdefault(words[1], [])
        elif len(words) == 2 and words[0] == "-N":
            rules.setdefault(words[1], [])
        elif len(words) > 2 and words[0] == "-A":
            rules.setdefault(words[1], []).append(_rule(words[2:], line))
    return {
        _key(name): Chain(name, _HOOKS.get(name, ""), policies.get(name, "accept"), tuple(found))
        for name, found in rules.items()
    }


def _rule(words: list[str], text: str) -> Rule:
    conditions: list[Condition] = []
    target = ""
    negated = False
    index = 0
    while index < len(words):
        word = words[index]
        value = words[index + 1] if index + 1 < len(words) else ""
        index += 2
        if word == "!":
            negated = True
            index -= 1
            continue
        if word in ("-j", "-g"):
            target = _TARGETS.get(value, "" if value in _SILENT else _key(value))
            break
        if word in _FIELDS:
            conditions.append(Condition(_FIELDS[word], tuple(value.split(",")), negated))
        elif word == "-m" and value in ("limit", "recent", "set", "mac", "owner", "mark"):
            conditions.append(Condition(UNKNOWN, (value,)))
        elif word not in ("-m", "--comment"):
            conditions.append(Condition(UNKNOWN, (word,)))
            index -= 0 if value and not value.startswith("-") and value != "!" else 1
        negated = False
    return Rule(tuple(conditions), target, text.strip())


# nft -j list ruleset (libnftables-json(5))


def _nft(text: str) -> dict[str, Chain]:
    chains: dict[str, Chain] = {}
    rules: dict[str, list[Rule]] = {}
    for entry in objects(loads(text), "nftables"):
        chain, rule = mapping(entry, "chain"), mapping(entry, "rule")
        if chain.get("family") in ("ip", "inet"):
            key = _nft_key(chain, chain.get("name"))
            hook = chain.get("hook") if chain.get("type") == "filter" else ""
            policy = "drop" if chain.get("policy") == "drop" else "accept"
            chains[key] = Chain(str(chain.get("name")), str(hook or ""), policy)
        elif rule.get("family") in ("ip", "inet"):
            rules.setdefault(_nft_key(rule, rule.get("chain")), []).extend(_nft_rules(rule))
    return {
        key: Chain(chain.name, chain.hook, chain.policy, tuple(rules.get(key, ())))
        for key, chain in chains.items()
    }


def _nft_key(entry: dict[str, Any], chain: object) -> str:
    return f"{entry.get('family')} {entry.get('table')} {chain}"


def _nft_rules(rule: dict[str, Any]) -> Iterator[Rule]:
    """The rule; a verdict map (`ct state vmap { invalid : drop }`) is a rule for each entry."""
    conditions: list[Condition] = []
    target = ""
    for expression in objects(rule, "expr"):
        for kind, body in expression.items():
            if kind == "match":
                conditions.extend(_nft_match(body))
            elif kind == "vmap":
                for one, verdict in _nft_map(rule, body):
                    text = _nft_text(rule, [*conditions, *one], verdict)
                    yield Rule((*conditions, *one), verdict, text)
                return
            elif kind in ("xt", "limit", "lookup"):
                conditions.append(Condition(UNKNOWN, (kind,)))
            else:
                target = _nft_target(rule, kind, body) or target
    yield Rule(tuple(conditions), target, _nft_text(rule, conditions, target))


def _nft_target(rule: dict[str, Any], kind: str, body: object) -> str:
    if kind in ("accept", "drop", "return"):
        return kind
    if kind == "reject":
        return "drop"
    if kind in ("jump", "goto"):
        return _nft_key(rule, body.get("target") if isinstance(body, dict) else "")
    return ""


def _nft_map(rule: dict[str, Any], body: object) -> Iterator[tuple[list[Condition], str]]:
    """The entries of a verdict map; one that is not understood may decide anything."""
    entries = mapping(body, "data").get("set")
    key = mapping(body).get("key")
    if not isinstance(entries, list):
        yield [Condition(UNKNOWN, ("vmap",))], "accept"
        return
    for entry in entries:
        if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[1], dict):
            yield [Condition(UNKNOWN, ("vmap",))], "accept"
            continue
        kind, detail = next(iter(entry[1].items()), ("", None))
        match = {"op": "==", "left": key, "right": entry[0]}
        yield list(_nft_match(match)), _nft_target(rule, str(kind), detail)


def _nft_text(rule: dict[str, Any], conditions: list[Condition], target: str) -> str:
    parts = [f"{'not ' * c.negated}{c.field} {','.join(c.values)}" for c in conditions]
    return f"{rule.get('table')} {rule.get('chain')}: {' '.join([*parts, target])}"


def _nft_match(body: object) -> Iterator[Condition]:
    if not isinstance(body, dict):
        yield Condition(UNKNOWN)
        return
    left = body.get("left")
    kind, detail = next(iter(left.items()), ("", None)) if isinstance(left, dict) else ("", None)
    name = ""
    if kind == "meta" and isinstance(detail, dict):
        name = {"iifname": "iif", "iif": "iif", "oifname": "oif", "oif": "oif",
                "l4proto": "proto"}.get(str(detail.get("key")), "")  # fmt: skip
    elif kind == "ct" and isinstance(detail, dict):
        name = "state" if detail.get("key") == "state" else ""
    elif kind == "payload" and isinstance(detail, dict):
        protocol, wanted = str(detail.get("protocol")), str(detail.get("field"))
        name = {"dport": "dport", "saddr": "saddr", "daddr": "daddr", "protocol": "proto"}.get(
            wanted, ""
        )
        if protocol == "ip6":
            name = ""
        if name == "dport" and protocol in ("tcp", "udp"):
            yield Condition("proto", (protocol,))
    values = _nft_values(body.get("right"))
    if not name or values is None or body.get("op") not in ("==", "!=", "in"):
        yield Condition(UNKNOWN, (kind,))
        return
    yield Condition(name, values, body.get("op") == "!=")


def _nft_values(right: object) -> tuple[str, ...] | None:
    if isinstance(right, str | int):
        text = str(right)
        return None if text.startswith("@") else (text.replace("*", "+"),)
    if isinstance(right, list):
        found = [_nft_values(item) for item in right]
        return None if None in found else tuple(text for each in found if each for text in each)
    if isinstance(right, dict):
        if "set" in right:
            return _nft_values(right["set"])
        bounds = right.get("range")
        if isinstance(bounds, list) and len(bounds) == 2:
            return (f"{bounds[0]}:{bounds[1]}",)
        prefix = right.get("prefix")
        if isinstance(prefix, dict):
            return (f"{prefix.get('addr')}/{prefix.get('len')}",)
    return None


FIREWALL = Fact("firewall", always(_SCRIPT), parse)
