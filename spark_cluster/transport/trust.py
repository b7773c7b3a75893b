"""Which keys a host shows, and how they get into known_hosts.

Import it late: it brings paramiko.
"""

from __future__ import annotations

import time

import fabric
import paramiko

from spark_cluster.core.error import Unreachable
from spark_cluster.transport import dial, known_hosts
from spark_cluster.transport.failures import explain
from spark_cluster.transport.known_hosts import HostKey, fingerprint, record
from spark_cluster.transport.protocol import Target

__all__ = ["HostKey", "fingerprint", "is_known", "path_for", "record", "scan"]

_FAMILIES = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("ssh-rsa",),
)


def scan(target: Target) -> list[HostKey]:
    """The keys that the host shows, one per type, without logging in there.

    Through a gateway of ssh_config it logs in to the gateway only, whose key must be known.
    All together takes at most target.connect_timeout seconds.

    Raises Unreachable, InputError; for a gateway HostKeyRejected and AuthFailed too.
    """
    begun = time.monotonic()
    deadline = begun + target.connect_timeout
    name = dial.hop_of(dial.resolve(target), target).key_name
    keys = []
    for types in _FAMILIES:
        link = dial.resolve(target)
        try:
            key = _shown(link, target, types, deadline)
        except dial.Failed as failed:
            raise explain(failed, target, time.monotonic() - begun) from None
        finally:
            dial.close_chain(link)
        if key is not None:
            keys.append(HostKey(name, key.get_name(), key.get_base64()))
    if not keys:
        raise Unreachable(
            f"{target.name} shows no host key of a type that is known here",
            remedy="run `ssh-keygen -A` on the host, and restart sshd",
            host=target.name,
        )
    return keys


def _shown(
    link: fabric.Connection, target: Target, types: tuple[str, ...], deadline: float
) -> paramiko.PKey | None:
    sock = dial.socket_for(link, target, deadline, last=True)
    try:
        return dial.negotiated(sock, types, deadline)
    except (dial.Hung, dial.Dropped) as error:
        raise dial.Failed(dial.hop_of(link, target), error) from None


def is_known(target: Target, key: HostKey) -> bool:
    """Whether connecting to `target` would accept this key."""
    hop = dial.hop_of(dial.resolve(target), target)
    return key in known_hosts.lookup(hop.files, key.name)


def path_for(target: Target) -> str:
    """The file in which to record the target's keys."""
    return dial.hop_of(dial.resolve(target), target).files[0]
