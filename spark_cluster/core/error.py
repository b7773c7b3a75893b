"""Every error that this program raises on purpose, and the exit code it ends with.

    SparkError                  1   something failed
    ├── StepFailed              1   a step's command failed, or its second reading still differs
    ├── LabError                1   the lab could not be built, started or stopped
    ├── InputError              2   the command line, an inventory, a playbook or a recipe is wrong
    ├── Unreachable             3   a host does not answer
    │   ├── HostKeyRejected     3   its key is unknown or has changed
    │   └── AuthFailed          3   it does not accept us, or sudo does not
    ├── StateUnknown            3   the connection died after the command was sent
    ├── CheckFailed             4   a verification did not hold
    ├── Locked                  5   another run holds the hosts
    └── Interrupted           130   Ctrl-C

Each says what happened (`message`), where (`host`, `step`, `place`), what was run (`command`,
already redacted), what the host answered (`stderr`, the last lines) and what to do next
(`remedy`). The command line prints them all in one form, `cli/app.py`.
"""

from __future__ import annotations

_FIELDS = ("message", "host", "step", "place", "command", "stderr", "code", "remedy")


class SparkError(Exception):
    """The root. `remedy` is never optional: an error that says nothing to do is a riddle."""

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        remedy: str,
        host: str | None = None,
        step: str | None = None,
        place: str | None = None,
        command: str | None = None,
        stderr: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.host = host
        self.step = step
        self.place = place
        self.command = command
        self.stderr = stderr
        self.code = code

    def as_dict(self) -> dict[str, str | int]:
        """The error as `--json` prints it: only the fields that are known."""
        known = {name: value for name in _FIELDS if (value := getattr(self, name))}
        return {"kind": type(self).__name__, "exit_code": self.exit_code, **known}


class StepFailed(SparkError):
    """A step's command failed, or the second reading does not show what was wanted."""


class LabError(SparkError):
    """The lab could not be built, started or stopped."""


class InputError(SparkError):
    """What the user wrote is wrong; `place` is file, line and field."""

    exit_code = 2


class Unreachable(SparkError):
    """A host does not answer."""

    exit_code = 3


class HostKeyRejected(Unreachable):
    """The host's key is not in known_hosts, or is another than the one there."""


class AuthFailed(Unreachable):
    """The host refused our keys, or sudo refused us."""


class StateUnknown(SparkError):
    """The connection died after a command was sent: whether it ran is not known."""

    exit_code = 3


class CheckFailed(SparkError):
    """A verification did not hold."""

    exit_code = 4


class Locked(SparkError):
    """Another run holds a host's lock."""

    exit_code = 5


class Interrupted(SparkError):
    """The user pressed Ctrl-C."""

    exit_code = 130
