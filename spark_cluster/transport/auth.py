"""Which keys are tried, in which order, and what was tried when none of them was right."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import paramiko
from paramiko.auth_strategy import AuthSource, AuthStrategy, SourceResult

_DEFAULTS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")


class KeysRefused(paramiko.AuthenticationException):
    """None of the keys was accepted.

    `tried` names them, `notes` those that could not be tried and why; `cut` says that the server
    closed the connection before all were tried.
    """

    def __init__(self, user: str, tried: list[str], notes: list[str], cut: bool, why: str) -> None:
        super().__init__(why)
        self.user = user
        self.tried = tried
        self.notes = notes
        self.cut = cut
        self.why = why


class KeyAuth(AuthStrategy):
    """Public keys: those of the configuration, then the agent's others, then the usual files.

    An agent's key that belongs to a configured file comes first of all; with IdentitiesOnly no
    other key of the agent is tried. So a full agent does not use up the server's patience.
    """

    def __init__(
        self, options: Mapping[str, Any], user: str, identity: str | None, deadline: float
    ) -> None:
        super().__init__(ssh_config=paramiko.SSHConfig())
        self.user = user
        self._only = str(options.get("identitiesonly", "no")).lower() == "yes"
        listed = options.get("identityfile", [])
        given = [identity] if identity else []
        self._files = given + ([listed] if isinstance(listed, str) else list(listed))
        self._deadline = deadline
        self._notes: list[str] = []

    def get_sources(self) -> Iterator[AuthSource]:
        """Nothing: the keys need the agent, which lives only while `authenticate` runs."""
        return iter(())

    def authenticate(self, transport: paramiko.Transport) -> list[SourceResult]:
        """Try the keys. Raises KeysRefused, TimeoutError."""
        agent = paramiko.Agent()
        tried: list[str] = []
        try:
            done: set[bytes] = set()
            for label, key in self._candidates(agent):
                if key.asbytes() in done:
                    continue
                done.add(key.asbytes())
                tried.append(label)
                why = self._try(transport, key)
                if why is None:
                    return []
                if not transport.is_active():
                    cut = len(tried) > 1
                    raise KeysRefused(self.user, tried, self._notes, cut, why)
        finally:
            agent.close()
        why = "it accepts none of them" if tried else "there is no key to try"
        raise KeysRefused(self.user, tried, self._notes, False, why)

    def _try(self, transport: paramiko.Transport, key: paramiko.PKey) -> str | None:
        """None when the key opened the door, else why it did not."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("authentication")
        transport.auth_timeout = left
        try:
            more = transport.auth_publickey(self.user, key)
        except paramiko.BadAuthenticationType as error:
            return f"it only accepts {', '.join(error.allowed_types)}"
        except (paramiko.SSHException, EOFError, OSError) as error:
            if "timeout" in str(error).lower():
                raise TimeoutError("authentication") from None
            return str(error) or type(error).__name__
        return f"after the key it also wants {', '.join(more)}" if more else None

    def _candidates(self, agent: paramiko.Agent) -> Iterator[tuple[str, paramiko.PKey]]:
        """The keys with their names, some of them twice."""
        held = {key.asbytes(): key for key in agent.get_keys()}
        for file in self._files:
            yield from self._of_file(file, held, required=True)
        if not self._only:
            for key in held.values():
                yield f"agent key {key.comment or key.fingerprint}", key
        if not self._files:
            for file in _DEFAULTS:
                yield from self._of_file(file, held, required=False)

    def _of_file(
        self, file: str, held: Mapping[bytes, paramiko.PKey], required: bool
    ) -> Iterator[tuple[str, paramiko.PKey]]:
        public = _public_blob(file)
        if public is not None and public in held:
            yield f"{file} (agent)", held[public]
        elif (key := self._load(file, required)) is not None:
            yield file, key

    def _load(self, file: str, required: bool) -> paramiko.PKey | None:
        path = Path(file).expanduser()
        try:
            return paramiko.PKey.from_path(path)
        except FileNotFoundError:
            if required:
                self._notes.append(f"{file} is not there")
        except (TypeError, paramiko.PasswordRequiredException):
            self._notes.append(f"{file} is encrypted and no agent holds it (ssh-add {file})")
        except (OSError, ValueError, paramiko.SSHException, paramiko.pkey.UnknownKeyType) as error:
            self._notes.append(f"{file} cannot be read: {error}")
        return None


def _public_blob(file: str) -> bytes | None:
    """The public half of a key file, from the .pub file beside it."""
    path = Path(file).expanduser()
    public = path if path.suffix == ".pub" else path.with_name(path.name + ".pub")
    try:
        _, data = public.read_text(encoding="utf-8", errors="replace").split()[:2]
        return base64.b64decode(data, validate=True)
    except (OSError, ValueError):
        return None
