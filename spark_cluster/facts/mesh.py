"""Node-to-node SSH: this node's key, whom its user lets in, whom it knows, and whether it works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spark_cluster.core.shell import quote
from spark_cluster.core.units import number
from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.facts.lines import Lines
from spark_cluster.inventory.models import Host, Inventory

#: The end of every line of ours in authorized_keys and known_hosts, before the node's name.
MARK = "spark-cluster-mesh"
KEY = "id_ed25519_spark_cluster"
SNIPPET = "spark-cluster.conf"
INCLUDE = f"Include ~/.ssh/{SNIPPET}"

#: sed: a line that `mesh` wrote.
MARKED = f"/ {MARK} [A-Za-z0-9-]*$/"
INCLUDED = f"/^Include ~\\/\\.ssh\\/{SNIPPET.replace('.', '[.]')}$/"

FILES = ("authorized_keys", "known_hosts", "config")

#: Seconds within which a node's sshd must answer, and within which a whole login must be done.
ANSWER, LOGIN = 10, 25


def addresses(host: Host, peer: Host) -> tuple[str, ...]:
    """The peer's addresses in networks that both are in; the rails' first."""
    mine = {item.network for item in host.interfaces}
    return tuple(item.ip for item in peer.interfaces if item.network in mine)


def peers(inventory: Inventory, host: Host) -> dict[str, tuple[str, ...]]:
    """Every other host that shares a network with this one, and where it is there."""
    found = {
        name: addresses(host, peer) for name, peer in inventory.hosts.items() if name != host.name
    }
    return {name: there for name, there in found.items() if there}


@dataclass(frozen=True)
class MeshFact:
    """`key` is the public key as `type base64`, `host_keys` are those of sshd. `authorized` and
    `known` are the marked lines only; `snippet` is ~/.ssh/spark-cluster.conf. `there` names the
    files of FILES that exist. `sound`: the private key is the user's alone.
    """

    user: str = ""
    key: str = ""
    private: bool = False
    sound: bool = False
    host_keys: tuple[str, ...] = ()
    port: int = 22
    there: frozenset[str] = frozenset()
    authorized: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    snippet: tuple[str, ...] = ()
    included: bool = False


def _script(context: ProbeContext) -> str:
    if context.deployment is not None and not context.deployment.needs_ssh:
        return "true"
    return f"""\
_s=$SPARK_HOME/.ssh
echo "user $SPARK_USER"
[ -e $_s/{KEY} ] && echo "private $(stat -c '%a %U' $_s/{KEY})"
[ -e $_s/{KEY}.pub ] && echo "key $(cut -d' ' -f1,2 $_s/{KEY}.pub)"
for _f in {" ".join(FILES)}; do [ -e $_s/$_f ] && echo "there $_f"; done
LC_ALL=C sed -n '{MARKED}s/^/authorized /p' $_s/authorized_keys 2>/dev/null
LC_ALL=C sed -n '{MARKED}s/^/known /p' $_s/known_hosts 2>/dev/null
LC_ALL=C sed -n '{INCLUDED}s/^/included /p' $_s/config 2>/dev/null
LC_ALL=C sed 's/^/snippet /' $_s/{SNIPPET} 2>/dev/null
for _f in /etc/ssh/ssh_host_*_key.pub; do
  [ -r $_f ] && echo "hostkey $(cut -d' ' -f1,2 $_f)"
done
echo "port $(sshd -T 2>/dev/null | sed -n 's/^port //p' | head -n 1)"
"""


def parse(text: str) -> MeshFact:
    lines = Lines(text)
    user, port = lines.first("user"), number(lines.first("port"))
    return MeshFact(
        user=user,
        key=lines.first("key"),
        private="private" in lines,
        sound=lines.first("private").split() == ["600", user],
        host_keys=tuple(sorted(key for key in lines.every("hostkey") if len(key.split()) == 2)),
        port=port if port and port < 65536 else 22,
        there=frozenset(lines.every("there")),
        authorized=tuple(sorted(lines.every("authorized"))),
        known=tuple(sorted(lines.every("known"))),
        snippet=tuple(lines.every("snippet")),
        included="included" in lines,
    )


MESH = Fact("mesh", _script, parse)


@dataclass(frozen=True)
class Call:
    """One try to reach a peer over SSH; `why` is ssh's last line when it failed."""

    peer: str
    address: str
    worked: bool
    why: str = ""


@dataclass(frozen=True)
class CallsFact:
    calls: tuple[Call, ...] = ()


def _calls_script(context: ProbeContext) -> str:
    """All peers at once, a peer's addresses one after the other: sshd drops connections when ten
    have not logged in yet (MaxStartups 10:30:100). The name stands for the first address. A peer
    that hangs is not called again: the probe has an end, too."""
    lines = [
        "_as=; [ \"$SPARK_USER\" = \"$(id -un)\" ] || _as=\"runuser -u $SPARK_USER --\"",
        "_call() {",
        f"  _out=$($_as timeout -k 2 {LOGIN} ssh -n -o BatchMode=yes -o UpdateHostKeys=no -o "
        f"StrictHostKeyChecking=yes -o ConnectTimeout={ANSWER} \"$2\" true 2>&1)",
        "  _rc=$?; echo \"$1 $2 $_rc $(echo \"$_out\" | tail -n 1)\"",
        "  [ $_rc != 124 ] && [ $_rc != 137 ]",
        "}",
    ]  # fmt: skip
    for name, there in peers(context.inventory, context.host).items():
        calls = [f"_call {quote(name)} {target}" for target in (name, *there[1:])]
        lines.append(f"{{ {' && '.join(calls)}; }} &")
    return "\n".join([*lines, "wait"]) + "\n"


def parse_calls(text: str) -> CallsFact:
    calls: list[Call] = []
    for line in text.split("\n"):
        words = line.split(maxsplit=3)
        if len(words) >= 3 and number(words[2]) is not None:
            calls.append(Call(words[0], words[1], words[2] == "0", _why(words[2], words[3:])))
    return CallsFact(tuple(sorted(calls, key=lambda call: (call.peer, call.address))))


def _why(status: str, said: Sequence[str]) -> str:
    if status == "0":
        return ""
    if status in ("124", "137"):  # of timeout(1): it ended ssh, or had to kill it
        return f"not done within {LOGIN} s"
    return said[0] if said else f"ssh ended with status {status}"


CALLS = Fact("mesh-calls", _calls_script, parse_calls, across=True)


def marked(lines: Sequence[str], name: str) -> list[str]:
    """Those of the lines that are about this node."""
    return [line for line in lines if line.endswith(f" {MARK} {name}")]
