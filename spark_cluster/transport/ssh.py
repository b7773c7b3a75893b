"""Connections over SSH. Import it late: it brings paramiko."""

from __future__ import annotations

import contextlib
import selectors
import threading
import time

import fabric
import paramiko

from spark_cluster.core.error import SparkError, Unreachable
from spark_cluster.transport import dial
from spark_cluster.transport.failures import explain
from spark_cluster.transport.protocol import Become, Target
from spark_cluster.transport.pump import Lost, Wire
from spark_cluster.transport.shell import Shell

#: Seconds between questions whether the host is still there.
PULSE = 15.0
#: Seconds without an answer after which it is held to be gone.
SILENCE = 45.0

_CHUNK = 256 * 1024


class _Pulse:
    """Asks the host now and then whether it is there, and closes the transport if it is not.

    Closing it is what wakes everything that waits for this host.
    """

    def __init__(self, transport: paramiko.Transport) -> None:
        self.silent = False
        self._transport = transport
        self._stop = threading.Event()
        threading.Thread(target=self._beat, name="ssh-pulse", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _beat(self) -> None:
        while not self._stop.wait(PULSE) and self._transport.is_active():
            patience = threading.Timer(SILENCE, self._give_up)
            patience.daemon = True
            patience.start()
            with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
                self._transport.global_request("keepalive@openssh.com", wait=True)
            patience.cancel()

    def _give_up(self) -> None:
        self.silent = True
        self._transport.close()


class SshConnection(Shell):
    """One authenticated SSH connection to one host, over one TCP connection."""

    def __init__(self, target: Target, become: Become) -> None:
        """Connect. Raises Unreachable, HostKeyRejected, AuthFailed or InputError."""
        super().__init__(target, become)
        self._link: fabric.Connection | None = None
        self._pulse: _Pulse | None = None
        self._connect()

    @property
    def transport(self) -> paramiko.Transport:
        """The open transport. Raises Unreachable when it is closed."""
        transport = self._link.transport if self._link is not None else None
        if transport is None or not transport.is_active():
            raise self._gone("the connection was closed")
        assert isinstance(transport, paramiko.Transport)
        return transport

    def reconnect(self) -> None:
        self.close()
        self._connect()

    def close(self) -> None:
        pulse, self._pulse = self._pulse, None
        link, self._link = self._link, None
        if pulse is not None:
            pulse.stop()
        dial.close_chain(link)

    def _connect(self) -> None:
        begun = time.monotonic()
        try:
            self._link = dial.open_chain(self.target)
        except dial.Failed as failed:
            raise explain(failed, self.target, time.monotonic() - begun) from None
        self._pulse = _Pulse(self.transport)

    def _silence(self) -> str:
        silent = self._pulse is not None and self._pulse.silent
        return f"the host did not answer for {SILENCE:.0f} s" if silent else ""

    def _gone(self, why: str) -> SparkError:
        return Unreachable(
            f"{self.host}: {self._silence() or why} before the command was sent; it did not run",
            remedy=f"see whether {self.host} is up and run it again",
            host=self.host,
        )

    def _start(self, command: str) -> Wire:
        try:
            channel = self.transport.open_session(timeout=self.target.connect_timeout + 20)
            channel.exec_command(command)
        except (paramiko.SSHException, EOFError, OSError) as error:
            why = str(error) or "it closed the connection"
            raise self._gone(f"no session could be opened ({why})") from None
        return SshWire(channel)


class SshWire:
    """A channel with a running shell: the Wire of SSH."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self._selector: selectors.BaseSelector | None = selectors.DefaultSelector()
        self._selector.register(channel.fileno(), selectors.EVENT_READ)

    def wait(self, seconds: float) -> None:
        if self.ended():
            self._channel.status_event.wait(seconds)
        elif self._selector is not None:
            self._selector.select(seconds)

    def read_out(self) -> bytes:
        return self._channel.recv(_CHUNK) if self._channel.recv_ready() else b""

    def read_err(self) -> bytes:
        ready = self._channel.recv_stderr_ready()
        return self._channel.recv_stderr(_CHUNK) if ready else b""

    def ended(self) -> bool:
        channel = self._channel
        over = bool(channel.eof_received or channel.closed)
        return over and not channel.recv_ready() and not channel.recv_stderr_ready()

    def send(self, data: bytes, seconds: float) -> None:
        self._channel.settimeout(seconds)
        try:
            self._channel.sendall(data)
        except TimeoutError:
            raise Lost(f"the host took no input for {seconds:.0f} s") from None
        except (OSError, EOFError, paramiko.SSHException):
            # Nobody reads it any more: what came back, and the status, say why.
            return

    def end_input(self) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.shutdown_write()

    def status(self) -> int | None:
        if not self._channel.exit_status_ready() or self._channel.exit_status < 0:
            return None
        return self._channel.exit_status

    def alive(self) -> bool:
        transport = self._channel.get_transport()
        return bool(transport.is_active()) and not self._channel.closed

    def close(self) -> None:
        selector, self._selector = self._selector, None
        if selector is not None:
            selector.close()
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.close()


def connect(target: Target, become: Become) -> SshConnection:
    """The Connector of SSH. Raises Unreachable, HostKeyRejected, AuthFailed or InputError."""
    return SshConnection(target, become)
