"""Where things lie: the data folders that ship with the program, and the user's own.

A user's file wins over ours of the same name: first beside them (the current folder), then
~/.config/spark-cluster, then the folders of the installation.
"""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _xdg(variable: str, default: str) -> Path:
    value = os.environ.get(variable)
    base = Path(value) if value and Path(value).is_absolute() else Path.home() / default
    return base / "spark-cluster"


def config_dir() -> Path:
    """~/.config/spark-cluster, or under $XDG_CONFIG_HOME."""
    return _xdg("XDG_CONFIG_HOME", ".config")


def state_dir() -> Path:
    """~/.local/state/spark-cluster, or under $XDG_STATE_HOME: the journal, the lab."""
    return _xdg("XDG_STATE_HOME", ".local/state")


def cache_dir() -> Path:
    """~/.cache/spark-cluster, or under $XDG_CACHE_HOME: what can be made again."""
    return _xdg("XDG_CACHE_HOME", ".cache")


def shipped(folder: str) -> Path:
    """The `folder` (inventory, playbooks, netplan) of the wheel, else of the checkout."""
    wheel = _PACKAGE / "_data" / folder
    return wheel if wheel.is_dir() else _PACKAGE.parent / folder


def search_path(folder: str) -> list[Path]:
    """The folders in which a file of that kind is looked for, first wins."""
    return [Path.cwd() / folder, config_dir() / folder, shipped(folder)]


def current_inventory_pointer() -> Path:
    """A one-line file naming the inventory to use by default; `lab up` writes it."""
    return state_dir() / "current-inventory"


def short(path: Path) -> str:
    """`path` as a person would write it here: relative below the current folder, `~` below home."""
    for base, prefix in ((Path.cwd(), ""), (Path.home(), "~/")):
        if path.is_relative_to(base) and path != base:
            return prefix + str(path.relative_to(base))
    return str(path)


def expanded(path: str | Path) -> Path:
    """The path with `~` as the home folder; that of nobody stays as it is written."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
