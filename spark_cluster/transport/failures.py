"""What a failed connection means and what to do about it, in words."""

from __future__ import annotations

import socket

import paramiko

from spark_cluster.core.error import AuthFailed, HostKeyRejected, Unreachable
from spark_cluster.transport.auth import KeysRefused
from spark_cluster.transport.dial import Dropped, Failed, Hop, Hung, KeyNotKnown
from spark_cluster.transport.protocol import Target


def explain(failed: Failed, target: Target, seconds: float) -> Unreachable:
    """The error to raise for a failed connection that took `seconds`."""
    hop, cause = failed.hop, failed.cause
    if isinstance(cause, KeyNotKnown):
        return _host_key(hop, target, cause)
    if isinstance(cause, KeysRefused):
        return _keys(hop, target, cause)
    if isinstance(cause, paramiko.AuthenticationException):
        return AuthFailed(
            f"{_where(hop)} refused {hop.user}: {cause}", remedy=_copy_id(hop), host=target.name
        )
    why, remedy = _reason(hop, cause, seconds)
    return Unreachable(f"{_where(hop)}: {why}", remedy=remedy, host=target.name)


def _where(hop: Hop) -> str:
    host = f"[{hop.host}]" if ":" in hop.host else hop.host
    via = f" through {hop.via}" if hop.via else ""
    return f"{hop.name} ({host}:{hop.port}{via})"


def _host_key(hop: Hop, target: Target, cause: KeyNotKnown) -> HostKeyRejected:
    shown = cause.shown
    same = [key for key in cause.known if key.type == shown.type] or list(cause.known)
    # A gateway is no host of the inventory, so `trust` knows it only by way of its host.
    if not same:
        message = (
            f"{_where(hop)}: its host key is unknown: {shown.type} {shown.fingerprint}"
            f" is not in {', '.join(hop.files)}"
        )
        return HostKeyRejected(message, remedy=_trust(hop, target, ""), host=target.name)
    message = (
        f"{_where(hop)}: its host key has CHANGED: it shows {shown.type} {shown.fingerprint}, "
        f"known is {same[0].type} {same[0].fingerprint}"
    )
    remedy = (
        "if the host was installed anew, compare with `ssh-keygen -lf "
        f"/etc/ssh/ssh_host_{_short(shown.type)}_key.pub` on its console, then: "
        f"{_trust(hop, target, ' --replace')}; if not, someone may be in between"
    )
    return HostKeyRejected(message, remedy=remedy, host=target.name)


def _trust(hop: Hop, target: Target, flag: str) -> str:
    if hop.name == target.name:
        return f"spark-cluster trust {target.name}{flag}"
    forget = f"ssh-keygen -R '{hop.key_name}' and " if flag else ""
    return f"{forget}ssh {hop.name}, and accept the gateway's key there"


def _short(kind: str) -> str:
    return kind.removeprefix("ssh-").partition("-")[0]


def _keys(hop: Hop, target: Target, cause: KeysRefused) -> AuthFailed:
    tried = ", ".join(cause.tried) or "none"
    message = f"{_where(hop)} refused user {cause.user}: {cause.why}; keys tried: {tried}"
    if cause.notes:
        message += f" ({'; '.join(cause.notes)})"
    remedy = _copy_id(hop)
    if cause.cut:
        message = (
            f"{_where(hop)} hung up on user {cause.user} after {len(cause.tried)} keys "
            f"(too many authentication failures); keys tried: {tried}"
        )
        remedy = (
            f"name the right key: in ssh_config, for Host {hop.name}, "
            "`IdentityFile ~/.ssh/KEY` and `IdentitiesOnly yes`"
        )
    return AuthFailed(message, remedy=remedy, host=target.name)


def _copy_id(hop: Hop) -> str:
    port = "" if hop.port == 22 else f" -p {hop.port}"
    return f"ssh-copy-id{port} {hop.user}@{hop.host}, or set the right user and key"


def _reason(hop: Hop, cause: BaseException, seconds: float) -> tuple[str, str]:
    ping = f"see whether it is up and reachable: ping {hop.host}"
    if isinstance(cause, socket.gaierror):
        return (
            f"the name {hop.host} could not be resolved ({cause.strerror})",
            "correct the address in the inventory, or add it to /etc/hosts or ssh_config",
        )
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused", f"is sshd running there, on port {hop.port}?"
    if isinstance(cause, Hung):
        return (
            f"no SSH {cause.phase} within {seconds:.1f} s, though the port is open",
            "the host may be out of memory or overloaded, or the port is not sshd's; look at it "
            "on its console",
        )
    if isinstance(cause, TimeoutError):
        return f"timed out after {seconds:.1f} s", ping
    if isinstance(cause, Dropped):
        return (
            f"hung up before authentication for {seconds:.1f} s ({cause})",
            "sshd may be at its MaxStartups limit or let this address wait (PerSourcePenalties): "
            "journalctl -u ssh there; try again",
        )
    if isinstance(cause, paramiko.ssh_exception.IncompatiblePeer):
        return f"no algorithm in common ({cause})", "update sshd there, or its Ciphers and Kex"
    if isinstance(cause, paramiko.ChannelException):
        return f"the gateway {hop.via} could not connect to it ({cause.text})", ping
    return str(cause) or type(cause).__name__, ping
