"""Would the packet filter let this packet through? Three answers, for not every rule is clear."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from spark_cluster.facts.firewall import Condition, FirewallFact, Rule

#: Chains may call chains; the kernel refuses loops, a listing may still hold one.
_DEPTH = 16


@dataclass(frozen=True)
class Packet:
    """The first packet of a new connection, or a datagram."""

    iif: str
    proto: str
    dport: int
    saddr: str
    daddr: str
    oif: str = ""


@dataclass(frozen=True)
class Outcome:
    """`kind` is accept, drop or unknown; `why` is the rule or the policy that dropped it."""

    kind: str
    why: str = ""


def verdict(fact: FirewallFact, hook: str, packet: Packet) -> Outcome:
    """A packet must pass every base chain at the hook; one that drops it decides."""
    unsure = False
    for key, chain in fact.hooked(hook):
        walk = _Walk(fact, packet)
        outcome = walk.chain(key, 0) or Outcome(
            "drop" if chain.policy == "drop" else "accept", f"policy of {key}"
        )
        if outcome.kind == "drop" and not walk.unsure:
            return outcome
        unsure = unsure or outcome.kind == "drop"
    return Outcome("unknown" if unsure else "accept")


class _Walk:
    """One packet on its way through one base chain. `unsure`: a rule that is not understood could
    have let it through before."""

    def __init__(self, fact: FirewallFact, packet: Packet) -> None:
        self._fact = fact
        self._packet = packet
        self.unsure = False

    def chain(self, key: str, depth: int) -> Outcome | None:
        """What becomes of the packet in this chain; None if it leaves at the end."""
        chain = self._fact.chains.get(key)
        if chain is None or depth > _DEPTH:
            self.unsure = True
            return None
        for rule in chain.rules:
            fits = matches(rule, self._packet)
            if fits is False or not rule.target:
                continue
            if fits is None:
                self.unsure = self.unsure or self._may_spare(rule.target, depth)
                continue
            if rule.target == "return":
                return None
            if rule.target in ("accept", "drop"):
                return Outcome(rule.target, rule.text)
            outcome = self.chain(rule.target, depth + 1)
            if outcome is not None:
                return outcome
        return None

    def _may_spare(self, target: str, depth: int) -> bool:
        """Whether a rule that may or may not fit could have kept the packet from a later drop."""
        if target in ("accept", "return"):
            return True
        if target == "drop":
            return False
        outcome = self.chain(target, depth + 1)
        return outcome is not None and outcome.kind == "accept"


def matches(rule: Rule, packet: Packet) -> bool | None:
    """Whether all conditions hold; None if that depends on one that is not understood."""
    unsure = False
    for condition in rule.conditions:
        holds = _holds(condition, packet)
        if holds is None:
            unsure = True
        elif holds is condition.negated:
            return False
    return None if unsure else True


def _holds(condition: Condition, packet: Packet) -> bool | None:
    values = condition.values
    match condition.field:
        case "iif":
            return any(_interface(value, packet.iif) for value in values)
        case "oif":
            return any(_interface(value, packet.oif) for value in values)
        case "proto":
            return any(value in (packet.proto, "all") for value in values)
        case "dport":
            return any(_port(value, packet.dport) for value in values)
        case "saddr":
            return _address(values, packet.saddr)
        case "daddr":
            return _address(values, packet.daddr)
        case "state":
            return "new" in [value.lower() for value in values]
        case "dst-type":
            return "LOCAL" in values
        case _:
            return None


def _interface(pattern: str, name: str) -> bool:
    """iptables(8): a name that ends in + fits every interface that begins with it."""
    return name.startswith(pattern[:-1]) if pattern.endswith("+") else name == pattern


def _port(value: str, port: int) -> bool:
    low, colon, high = value.partition(":")
    try:
        first = int(low or 0)
        last = int(high or 65535) if colon else first
    except ValueError:
        # A service's name, which nft and iptables print only when asked to.
        return False
    return first <= port <= last


def _address(values: tuple[str, ...], address: str) -> bool | None:
    try:
        wanted = IPv4Address(address)
        return any(_inside(value, wanted) for value in values)
    except ValueError:
        return None


def _inside(value: str, address: IPv4Address) -> bool:
    if ":" in value:
        low, _, high = value.partition(":")
        return IPv4Address(low) <= address <= IPv4Address(high)
    return address in IPv4Network(value, strict=False)
