"""Opens one authenticated SSH transport, through as many gateways as ssh_config says.

fabric resolves the configuration; the socket, the time budget, the host key's check and the order
of keys are ours.
"""

from __future__ import annotations

import getpass
import logging
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fabric
import paramiko
from tenacity import Retrying, retry_if_exception_type, wait_random_exponential

from spark_cluster.core.error import InputError
from spark_cluster.transport import known_hosts, ssh_config
from spark_cluster.transport.auth import KeyAuth
from spark_cluster.transport.known_hosts import HostKey
from spark_cluster.transport.protocol import Target

_RSA = ("rsa-sha2-512", "rsa-sha2-256")

# A server that hangs up is an ordinary event here, and told to the user as such.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
logging.getLogger("paramiko").propagate = False


@dataclass(frozen=True)
class Hop:
    """One host on the way, as ssh_config resolves it. `via` names the gateway before it."""

    name: str
    host: str
    port: int
    user: str
    key_name: str
    files: tuple[str, ...]
    options: Mapping[str, Any]
    identity: str | None
    via: str | None


class Hung(Exception):
    """A hop did not get so far within the time: its text says where it stopped."""


class Dropped(Exception):
    """The server hung up before authentication, as a busy sshd does (MaxStartups)."""


class Failed(Exception):
    """A hop could not be opened; `cause` says why."""

    def __init__(self, hop: Hop, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.hop = hop
        self.cause = cause


class KeyNotKnown(paramiko.SSHException):
    """The host's key is not one of those known for it."""

    def __init__(self, shown: HostKey, known: Sequence[HostKey]) -> None:
        super().__init__(f"host key of {shown.name} rejected")
        self.shown = shown
        self.known = known


#: What trying again does not mend.
_FINAL = (
    KeyNotKnown,
    Hung,
    TimeoutError,
    paramiko.AuthenticationException,
    paramiko.ssh_exception.IncompatiblePeer,
)


class _KnownKeys(paramiko.MissingHostKeyPolicy):
    """Accepts the keys known for one host, rejects all others.

    paramiko is given no known keys of its own: it would compare with one of them only.
    """

    def __init__(self, name: str, known: Sequence[HostKey]) -> None:
        self._name = name
        self._known = known

    def missing_host_key(self, client: Any, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
        shown = HostKey(self._name, key.get_name(), key.get_base64())
        if shown not in self._known:
            raise KeyNotKnown(shown, self._known)


class _Transport(paramiko.Transport):
    """A transport without Nagle's delay, that prefers certain key types and keeps to a time."""

    def __init__(self, sock: Any, types: Sequence[str], deadline: float, **more: Any) -> None:
        super().__init__(sock, **more)
        self._deadline = deadline
        if isinstance(sock, socket.socket):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        options = self.get_security_options()
        first = [name for name in _algorithms(types) if name in options.key_types]
        options.key_types = (*first, *(n for n in options.key_types if n not in first))

    def start_client(self, event: Any = None, timeout: float | None = None) -> None:  # noqa: ARG002
        left = max(0.1, self._deadline - time.monotonic())
        # The deadline below ends the wait; the thread's own limit only must not come first.
        self.banner_timeout = self.handshake_timeout = left + 5
        super().start_client(event=event, timeout=left)
        if not self.initial_kex_done:
            raise Hung("key exchange" if self.remote_version else "banner")


def _algorithms(types: Sequence[str]) -> list[str]:
    """The signature algorithms of these key types."""
    names: list[str] = []
    for kind in types:
        names += _RSA if kind == "ssh-rsa" else (kind,)
    return list(dict.fromkeys(names))


def resolve(target: Target) -> fabric.Connection:
    """The connection that ssh_config describes, not opened. Raises InputError."""
    paths = [target.ssh_config] if target.ssh_config else list(ssh_config.USUAL)
    if target.ssh_config and not Path(target.ssh_config).is_file():
        raise InputError(
            f"{target.name}: there is no ssh_config at {target.ssh_config}",
            remedy="correct the path in the inventory, or leave it out",
            host=target.name,
            place=target.ssh_config,
        )
    try:
        options = paramiko.SSHConfig.from_text(ssh_config.text_of(paths))
        config = fabric.Config(ssh_config=options, lazy=True)
        return fabric.Connection(
            target.address, user=target.user, port=target.port, config=config, connect_kwargs={}
        )
    except (paramiko.ConfigParseError, paramiko.CouldNotCanonicalize, ValueError, KeyError) as e:
        raise InputError(
            f"{target.name}: ssh_config cannot be used: {e}",
            remedy=f"see what OpenSSH makes of it: ssh -G {target.address}",
            host=target.name,
            place=", ".join(str(path) for path in paths),
        ) from None


def hop_of(link: fabric.Connection, target: Target, last: bool = True) -> Hop:
    """What is known of one link of the chain; `last` for the target itself."""
    options = link.ssh_config
    alias = options.get("hostkeyalias")
    gateway = link.gateway
    via = gateway.original_host if isinstance(gateway, fabric.Connection) else gateway
    return Hop(
        name=target.name if last else link.original_host,
        host=link.host,
        port=link.port,
        user=link.user or getpass.getuser(),
        key_name=alias.lower() if alias else known_hosts.key_name(link.host, link.port),
        files=_key_files(target, options),
        options=options,
        identity=target.identity if last else None,
        via=via or None,
    )


def _key_files(target: Target, options: Mapping[str, Any]) -> tuple[str, ...]:
    own = options.get("userknownhostsfile", "")
    named = [target.known_hosts] if target.known_hosts else own.replace('"', "").split()
    usual = ["~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts"]
    return tuple(dict.fromkeys(str(Path(path).expanduser()) for path in [*named, *usual]))


def open_chain(target: Target) -> fabric.Connection:
    """Connect to `target` within its connect_timeout, trying again only what a busy sshd does.

    Raises InputError, or Failed.
    """
    deadline = time.monotonic() + target.connect_timeout

    def attempt() -> fabric.Connection:
        link = resolve(target)
        try:
            _open(link, target, deadline, last=True)
        except BaseException:
            close_chain(link)
            raise
        return link

    def spent(state: Any) -> bool:
        return time.monotonic() + float(state.upcoming_sleep) > deadline

    return Retrying(
        retry=retry_if_exception_type(_Transient),
        wait=wait_random_exponential(multiplier=0.3, max=2.0),
        stop=spent,
        reraise=True,
    )(attempt)


class _Transient(Failed):
    """A failure that is likely to pass by itself within seconds."""


def close_chain(link: fabric.Connection | None) -> None:
    """Close a connection and its gateways, opened or half opened."""
    while link is not None:
        # Not link.close(): it leaves alone what was refused before the login was complete.
        link.client.close()
        link = link.gateway if isinstance(link.gateway, fabric.Connection) else None


def _open(link: fabric.Connection, target: Target, deadline: float, *, last: bool) -> None:
    sock = socket_for(link, target, deadline, last=last)
    hop = hop_of(link, target, last)
    known = known_hosts.lookup(hop.files, hop.key_name)
    client = link.client
    client.set_missing_host_key_policy(_KnownKeys(hop.key_name, known))
    types = [key.type for key in known]
    left = max(0.1, deadline - time.monotonic())
    try:
        client.connect(
            hostname=hop.host,
            port=hop.port,
            username=hop.user,
            sock=sock,
            timeout=left,
            channel_timeout=left,
            transport_factory=lambda s, **kw: _Transport(s, types, deadline, **kw),
            auth_strategy=KeyAuth(hop.options, hop.user, hop.identity, deadline),
        )
    except _FINAL as error:
        raise Failed(hop, error) from None
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise _Transient(hop, Dropped(str(error) or type(error).__name__)) from None
    link.transport = client.get_transport()


def socket_for(link: fabric.Connection, target: Target, deadline: float, *, last: bool) -> Any:
    """A way to the link's sshd: TCP, a gateway's channel, or a proxy command. Raises Failed."""
    gateway = link.gateway
    hop = hop_of(link, target, last)
    if isinstance(gateway, fabric.Connection):
        _open(gateway, target, deadline, last=False)
    try:
        if isinstance(gateway, fabric.Connection):
            left = max(0.1, deadline - time.monotonic())
            there, here = (hop.host, hop.port), ("127.0.0.1", 0)
            return gateway.transport.open_channel("direct-tcpip", there, here, timeout=left)
        if gateway:
            return paramiko.ProxyCommand(gateway)
        return _tcp(hop.host, hop.port, deadline)
    except ConnectionResetError as error:
        raise _Transient(hop, error) from None
    except (paramiko.SSHException, OSError) as error:
        raise Failed(hop, error) from None


def _tcp(host: str, port: int, deadline: float) -> socket.socket:
    """Connect to the first of the host's addresses that answers."""
    ways = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    error: OSError = OSError(f"{host} has no address")
    for number, (family, kind, proto, _, address) in enumerate(ways):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        sock = socket.socket(family, kind, proto)
        try:
            sock.settimeout(left / (len(ways) - number))
            sock.connect(address)
            return sock
        except OSError as failure:
            sock.close()
            error = failure
    raise error


def negotiated(sock: Any, types: Sequence[str], deadline: float) -> paramiko.PKey | None:
    """The key of one of `types` that the server on `sock` shows, None if it has no such key.

    Raises Hung, Dropped. Closes the socket in any case.
    """
    transport = _Transport(sock, types, deadline)
    try:
        transport.get_security_options().key_types = tuple(_algorithms(types))
        transport.start_client()
        return transport.get_remote_server_key()
    except paramiko.ssh_exception.IncompatiblePeer:
        return None
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise Dropped(str(error) or type(error).__name__) from None
    finally:
        transport.close()
