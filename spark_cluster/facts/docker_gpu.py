"""How `docker run --gpus` gives a container the GPU, if it can at all. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

#: The container toolkit's own configuration.
TOOLKIT_FILE = "/etc/nvidia-container-runtime/config.toml"

#: From this docker on `--gpus` takes CDI's devices where there are any (moby #50228, in the notes
#: of 29.2.0); before, it always goes by NVIDIA's hook.
_BY_CDI = (29, 2)

#: Modes of nvidia-container-runtime in which its hook works. In the others the hook ends with an
#: error, and containers have to ask for `--runtime=nvidia` (nvidia-container-toolkit, doPrestart).
_HOOK_MODES = ("auto", "legacy")

_RELEASE = re.compile(r"(\d{1,4})\.(\d{1,4})", re.ASCII)
_SECTION = re.compile(r"\[([A-Za-z0-9._-]{1,64})\]", re.ASCII)
_SETTING = re.compile(r"([a-z-]{1,32})\s*=\s*[\"']?([A-Za-z-]{1,32})", re.ASCII)


@dataclass(frozen=True)
class GpuAccess:
    """`way` is runtime, hook or cdi; empty if `--gpus` fails, and `why` then says it."""

    way: str = ""
    why: str = ""


@dataclass(frozen=True)
class Toolkit:
    """`mode` of nvidia-container-runtime; `any_mode`: its hook does not look at the mode."""

    mode: str = "auto"
    any_mode: bool = False


def toolkit(lines: Iterable[str]) -> Toolkit:
    """What the toolkit's configuration says, from its headings and settings."""
    section, values = "", {}
    for line in lines:
        if heading := _SECTION.match(line):
            section = heading[1]
        elif setting := _SETTING.match(line):
            values[section, setting[1]] = setting[2]
    return Toolkit(
        values.get(("nvidia-container-runtime", "mode"), "auto"),
        values.get(("nvidia-container-runtime-hook", "skip-mode-detection")) == "true",
    )


def access(version: str, hook: str, *, cdi: bool, settings: Toolkit) -> GpuAccess:
    """`hook` names what calls NVIDIA's hook (runtime or hook), empty if it is not installed; `cdi`:
    there is a CDI description of the GPU."""
    if hook and (settings.any_mode or settings.mode in _HOOK_MODES):
        return GpuAccess(hook)
    found = _RELEASE.match(version)
    if cdi and found and (int(found[1]), int(found[2])) >= _BY_CDI:
        return GpuAccess("cdi")
    if hook:
        return GpuAccess(
            why=f"--gpus fails: nvidia-container-runtime.mode is {settings.mode} in {TOOLKIT_FILE}"
        )
    if cdi:
        newer = ".".join(map(str, _BY_CDI))
        return GpuAccess(
            why=f"--gpus fails: there is a CDI description and no NVIDIA hook, and docker takes "
            f"--gpus from CDI only from {newer} on"
        )
    return GpuAccess(why="docker has no NVIDIA runtime, CDI device or hook")
