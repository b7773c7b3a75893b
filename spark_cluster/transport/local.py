"""A connection to the host that this program runs on: same scripts, same limits, no SSH."""

from __future__ import annotations

import os
import selectors
import subprocess
from typing import IO

from spark_cluster.core.error import Unreachable
from spark_cluster.transport.protocol import Become, Target
from spark_cluster.transport.pump import Lost, Wire
from spark_cluster.transport.shell import Shell

_CHUNK = 256 * 1024


class LocalConnection(Shell):
    """Runs scripts here. Its processes have their own session: Ctrl-C does not reach them."""

    def reconnect(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""

    def _start(self, command: str) -> Wire:
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                bufsize=0,
                cwd="/",
            )
        except OSError as error:
            raise Unreachable(
                f"{self.host}: no shell could be started here: {error}",
                remedy="see whether this machine is out of memory or processes",
                host=self.host,
            ) from None
        return LocalWire(process)


class LocalWire:
    """A running shell with pipes: the Wire of this machine."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin and process.stdout and process.stderr
        self._process = process
        self._in, self._out, self._err = process.stdin, process.stdout, process.stderr
        self._selector = selectors.DefaultSelector()
        for stream in (self._out, self._err):
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ)
        self._open = 2
        self._closed = False

    def wait(self, seconds: float) -> None:
        if not self._open:
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                return
        elif not self._closed:
            self._selector.select(seconds)

    def read_out(self) -> bytes:
        return self._read(self._out)

    def read_err(self) -> bytes:
        return self._read(self._err)

    def _read(self, stream: IO[bytes]) -> bytes:
        if self._closed or stream not in self._selector.get_map():
            return b""
        data = stream.read(_CHUNK)
        if data == b"":
            self._selector.unregister(stream)
            self._open -= 1
        return data or b""

    def ended(self) -> bool:
        return not self._open

    def send(self, data: bytes, seconds: float) -> None:
        os.set_blocking(self._in.fileno(), False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._in, selectors.EVENT_WRITE)
            while data:
                if not selector.select(seconds):
                    raise Lost(f"the shell took no input for {seconds:.0f} s")
                try:
                    data = data[os.write(self._in.fileno(), data) :]
                except BrokenPipeError:
                    return

    def end_input(self) -> None:
        self._in.close()

    def status(self) -> int | None:
        code = self._process.poll()
        if code is None:
            return None
        return code if code >= 0 else 128 - code

    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._selector.close()
        for stream in (self._in, self._out, self._err):
            stream.close()
        # Without its streams the shell ends by itself; a zombie is collected at the next Popen.
        self._process.poll()


def connect(target: Target, become: Become) -> LocalConnection:
    """The Connector of this machine."""
    return LocalConnection(target, become)
