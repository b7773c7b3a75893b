"""Faults on demand: what goes wrong on real Sparks, made to go wrong here, and undone.

Most are a script that the guest's agent runs as root, so that they work and can be undone when
SSH is the thing that is broken. A few act on the machine from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from spark_cluster.core.error import InputError, LabError
from spark_cluster.lab import manage, nodes
from spark_cluster.lab.agent import Agent
from spark_cluster.lab.image import ENGINE_IMAGE
from spark_cluster.lab.layers import Say
from spark_cluster.lab.topology import HALVES, INTERFACES, topology


@dataclass(frozen=True)
class Target:
    node: str
    interface: str
    port: int


Action = Callable[[Target], None]


@dataclass(frozen=True)
class Fault:
    name: str
    does: str
    undone: str
    apply: str | Action
    undo: str | Action


DEFAULT_NODE = "spark-2"
DEFAULT_INTERFACE = "enp1s0f1np1"
DEFAULT_PORT = 6379

_PATH = "export PATH=/usr/sbin:/usr/bin:/sbin:/bin; set -e; "

_SHIFT_GIDS = """
mkdir -p /run/spark-lab
switch=/proc/sys/net/ipv6/conf/$interface/disable_ipv6
[ -e "/run/spark-lab/ipv6-$interface" ] || cp "$switch" "/run/spark-lab/ipv6-$interface"
echo 0 > "$switch"
v4=$(ip -4 -o addr show dev "$interface" | awk '{print $4}')
for a in $v4; do ip addr del "$a" dev "$interface"; done
for i in 1 2 3; do ip -6 addr replace "fd5b:ac1a::$i/64" dev "$interface" nodad; done
for a in $v4; do ip addr add "$a" dev "$interface"; done
"""

_UNSHIFT_GIDS = """
v4=$(ip -4 -o addr show dev "$interface" | awk '{print $4}')
for i in 1 2 3; do ip -6 addr del "fd5b:ac1a::$i/64" dev "$interface" 2>/dev/null || true; done
for a in $v4; do ip addr del "$a" dev "$interface"; done
cat "/run/spark-lab/ipv6-$interface" > "/proc/sys/net/ipv6/conf/$interface/disable_ipv6"
rm "/run/spark-lab/ipv6-$interface"
for a in $v4; do ip addr add "$a" dev "$interface"; done
"""

_SECOND_OWNER = """
umask 077
cat > /etc/netplan/60-someone-else.yaml <<END
network:
  version: 2
  ethernets:
    $interface:
      addresses: [10.99.0.1/24]
END
"""

_TO_NETWORKD = """
umask 077
rm /etc/NetworkManager/system-connections/wifi.nmconnection
cat > /etc/netplan/01-network-manager-all.yaml <<END
network:
  version: 2
  renderer: networkd
  ethernets:
    wlP9s9: {dhcp4: true, dhcp6: false}
END
# One file that names NetworkManager, and netplan starts it again.
grep -l 'renderer: NetworkManager' /etc/netplan/*.yaml | xargs -r rm
netplan generate
systemctl disable --now NetworkManager
systemctl enable --now systemd-networkd
netplan apply
"""

_FILL_MEMORY = """
left=$(awk '/MemAvailable/ {print int($2 / 1024) - 150}' /proc/meminfo)
mount -o remount,size=100% /dev/shm
head -c "${left}M" /dev/zero > /dev/shm/spark-lab-fill
"""

_FILL_DISK = """
left=$(df -BM --output=avail / | tail -1 | tr -dc 0-9)
fallocate -l "$((left - 20))M" /var/tmp/spark-lab-fill
"""

_KILL_RANK = """
found=
for file in /proc/[0-9]*/comm; do
    read -r comm < "$file" || continue
    case $comm in VLLM::Worker*) found=${file%/comm}; kill -KILL "${found#/proc/}" ;; esac
done
[ -n "$found" ] || { echo "no rank runs on this node" >&2; exit 1; }
"""

_EACH_ENGINE = f"""
found=
for id in $(docker ps -q --filter ancestor={ENGINE_IMAGE}); do
    docker exec "$id" %s /tmp/spark-lab-wedge; found=1
done
[ -n "$found" ] || {{ echo "no engine runs on this node" >&2; exit 1; }}
"""

_STOP_SSHD = "kill -STOP $(systemctl show -p MainPID --value ssh)"
_CONTINUE_SSHD = "kill -CONT $(systemctl show -p MainPID --value ssh)"

_NETEM = "tc qdisc replace dev $interface root netem"
_NO_NETEM = "tc qdisc del dev $interface root netem"

_RULE_ALL = "-i $interface -m comment --comment spark-lab -j DROP"
_RULE_PORT = "-p tcp --dport $port -m comment --comment spark-lab -j DROP"


def _link(up: bool) -> Action:
    def act(target: Target) -> None:
        """Pulling a cable takes the carrier from both its ends."""
        known = manage.must_be_up()
        plan = topology(known.topology)
        cable = plan.cable_at(target.node, target.interface)
        ends = [(target.node, target.interface)]
        if cable is not None:
            ends.append(cable.other(target.node))
        for node, interface in ends:
            if known.nodes[node].running.alive():
                machine = manage.machine_of(known, node)
                manage.runner_of(known).set_link(
                    machine, interface, up and plan.carrier(node, interface)
                )

    return act


def _hot_remove(target: Target) -> None:
    known = manage.must_be_up()
    manage.runner_of(known).remove_card(manage.machine_of(known, target.node), target.interface)


def _hot_add(target: Target) -> None:
    known = manage.must_be_up()
    manage.runner_of(known).add_card(manage.machine_of(known, target.node), target.interface)


def _freeze(target: Target) -> None:
    known = manage.must_be_up()
    manage.runner_of(known).freeze(manage.machine_of(known, target.node))


def _thaw(target: Target) -> None:
    known = manage.must_be_up()
    machine = manage.machine_of(known, target.node)
    manage.runner_of(known).thaw(machine)
    nodes.set_clock(machine)


def _power_cycle(target: Target) -> None:
    known = manage.must_be_up()
    manage.runner_of(known).power_cycle(manage.machine_of(known, target.node))


def _power_off(target: Target) -> None:
    known = manage.must_be_up()
    machine = manage.machine_of(known, target.node)
    manage.runner_of(known).stop(known.nodes[target.node].running, machine)


def _power_on(target: Target) -> None:
    manage.reset([target.node], lambda _: None)


FAULTS = (
    Fault(
        "unplug", "pulls one half of a cable: no carrier at either end",
        "plugs it in again", _link(False), _link(True),
    ),
    Fault(
        "hot-remove", "takes an interface away, as a Spark does when its cable is pulled",
        "gives it back", _hot_remove, _hot_add,
    ),
    Fault(
        "mtu", "sets an interface's live MTU to 1500", "sets it to 9000",
        "ip link set dev $interface mtu 1500", "ip link set dev $interface mtu 9000",
    ),
    Fault(
        "loss", "loses one frame in eight of those that leave an interface", "loses none",
        f"{_NETEM} loss 12%", _NO_NETEM,
    ),
    Fault(
        "delay", "delays by 20 ms all that leaves an interface", "delays nothing",
        f"{_NETEM} delay 20ms", _NO_NETEM,
    ),
    Fault(
        "ipv6", "adds IPv6 addresses to a rail, so that its IPv4 GID moves to another index",
        "removes them", _SHIFT_GIDS, _UNSHIFT_GIDS,
    ),
    Fault("swap-on", "switches swap on", "switches it off", "swapon -a", "swapoff -a"),
    Fault(
        "rdma-ucm", "unloads rdma_ucm: no /dev/infiniband/rdma_cm", "loads it",
        "rmmod rdma_ucm", "modprobe rdma_ucm",
    ),
    Fault(
        "forward-drop", "sets the firewall's FORWARD policy to DROP, as Docker does",
        "sets it to ACCEPT", "iptables -P FORWARD DROP", "iptables -P FORWARD ACCEPT",
    ),
    Fault(
        "firewall", "drops all that arrives on an interface", "removes the rule",
        f"iptables -I INPUT {_RULE_ALL}", f"iptables -D INPUT {_RULE_ALL}",
    ),
    Fault(
        "firewall-port", "drops TCP to a port (--port)", "removes the rule",
        f"iptables -I INPUT {_RULE_PORT}", f"iptables -D INPUT {_RULE_PORT}",
    ),
    Fault(
        "second-owner", "writes another netplan file that names a rail", "removes it",
        _SECOND_OWNER, "rm -f /etc/netplan/60-someone-else.yaml",
    ),
    Fault(
        "networkd", "gives the node's interfaces from NetworkManager to systemd-networkd",
        "starts it again, as after its first boot", _TO_NETWORKD, _power_on,
    ),
    Fault(
        "fill-memory", "leaves 150 MiB of memory", "frees it",
        _FILL_MEMORY, "rm -f /dev/shm/spark-lab-fill",
    ),
    Fault(
        "fill-disk", "leaves 20 MiB on the disk", "frees it",
        _FILL_DISK, "rm -f /var/tmp/spark-lab-fill",
    ),
    Fault(
        "sshd-hang", "stops sshd: connections open and then nothing answers",
        "lets it go on", _STOP_SSHD, _CONTINUE_SSHD,
    ),
    Fault(
        "node-freeze", "freezes the whole node", "thaws it",
        _freeze, _thaw,
    ),
    Fault(
        "node-dead", "cuts the node's power", "starts it again, as after its first boot",
        _power_off, _power_on,
    ),
    Fault(
        "power-cycle", "cuts the node's power for a moment: what was not yet on its disk is lost",
        "is not: the node starts again by itself", _power_cycle, "true",
    ),
    Fault(
        "kill-rank", "kills the engine's rank on this node", "is not: launch again",
        _KILL_RANK, "true",
    ),
    Fault(
        "wedge", "stops token generation while the API stays green (the head's node)",
        "lets it go on", _EACH_ENGINE % "touch", _EACH_ENGINE % "rm -f",
    ),
)  # fmt: skip


def find(name: str) -> Fault:
    for fault in FAULTS:
        if fault.name == name:
            return fault
    raise InputError(
        f"there is no fault {name}", remedy="`spark-cluster lab fault list` names them all"
    )


def script(text: str, target: Target) -> str:
    """A fault's script with its target's values in front."""
    return f"{_PATH}interface={target.interface}; port={target.port}\n{text}"


def inject(
    name: str,
    node: str = DEFAULT_NODE,
    *,
    interface: str = DEFAULT_INTERFACE,
    port: int = DEFAULT_PORT,
    undo: bool = False,
    say: Say = lambda _: None,
) -> None:
    """Make a fault happen on a node, or undo it."""
    fault = find(name)
    known = manage.must_be_up()
    topology(known.topology).node(node)
    if interface not in INTERFACES or (
        name in ("unplug", "hot-remove") and interface not in HALVES
    ):
        raise InputError(
            f"{interface} is not an interface for {name}", remedy=f"use one of {', '.join(HALVES)}"
        )
    target = Target(node, interface, port)
    action = fault.undo if undo else fault.apply
    if isinstance(action, str):
        answer = Agent(manage.machine_of(known, node).agent).run(script(action, target), limit=120)
        if answer.code:
            raise LabError(
                f"{name} on {node} failed",
                host=node,
                stderr=answer.err.strip(),
                remedy="`spark-cluster lab reset` gives a node back its first state",
            )
    else:
        action(target)
    say(f"{node}: {name} {fault.undone if undo else fault.does}")
