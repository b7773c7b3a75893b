"""The wheel carries the data folders and works without a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from spark_cluster import places

ROOT = Path(places.__file__).resolve().parents[1]

_OFFLINE = (
    "Could not find a version",
    "Connection",
    "Temporary failure",
    "No matching distribution",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout. pip fetches hatchling: that needs the package index."""
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("not a checkout")
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(folder), str(ROOT)],
        text=True,
        capture_output=True,
    )
    if done.returncode and any(word in done.stdout + done.stderr for word in _OFFLINE):
        pytest.skip("hatchling cannot be fetched: no package index")
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.index
def test_the_wheel_carries_all_data_files(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("inventory", "playbooks", "netplan"):
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
        assert files
        for path in files:
            if "__pycache__" not in path.parts:
                assert f"spark_cluster/_data/{path.relative_to(ROOT)}" in names
    for path in (ROOT / "spark_cluster").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert str(path.relative_to(ROOT)) in names
    assert not any(name.startswith(("tests/", "bench/")) for name in names)


@pytest.mark.index
def test_a_type_checker_takes_the_types_of_what_is_installed(wheel: Path, tmp_path: Path) -> None:
    """Without py.typed everything that is imported from us is Any: no fault would be found."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    program = tmp_path / "program.py"
    program.write_text(
        "from spark_cluster.inventory.loader import load\n"
        "from pathlib import Path\n"
        "reveal_type(load(Path('sparks.yaml')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(program)],
        text=True,
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": "", "PYTHONPATH": str(tmp_path / "site")},
    )
    assert 'Revealed type is "spark_cluster.inventory.models.Inventory"' in done.stdout
    assert done.returncode == 0, done.stdout


@pytest.mark.index
def test_the_wheel_works_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    here = tmp_path / "empty"
    here.mkdir()
    shown = ran(tmp_path / "site", here, "recipes", "show", "qwen3-vl-235b")
    assert str(tmp_path / "site/spark_cluster/_data/playbooks/recipes/qwen3-vl-235b.yaml") in shown
    assert "sitecustomize.py" in shown
    assert "Why it matters" in ran(tmp_path / "site", here, "explain", "NET004")


def ran(site: Path, here: Path, *arguments: str) -> str:
    """What the program of the folder `site` prints in the folder `here`."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, spark_cluster\nfrom spark_cluster.cli.app import run\n"
            "print(spark_cluster.__file__)\nsys.exit(run(sys.argv[1:]))",
            *arguments,
        ],
        text=True,
        capture_output=True,
        cwd=here,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(here),
            "PYTHONPATH": str(site),
            "PYTHONSAFEPATH": "1",
        },
    )
    assert done.returncode == 0, done.stderr
    first, _, shown = done.stdout.partition("\n")
    assert first.startswith(str(site))
    return shown
