"""A few packages out of an installed system."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from spark_cluster.lab import image, subset

STATUS = """\
Package: base-files
Essential: yes
Status: install ok installed
Pre-Depends: awk
Depends: libc6 (>= 2.38), libcrypt1

Package: mawk
Status: install ok installed
Provides: awk
Pre-Depends: libc6

Package: libc6
Status: install ok installed
Provides: libcrypt1 (= 1)

Package: python3
Status: install ok installed
Depends: python3.13 (>= 3.13-1~) | python3.12:any, gone | libc6:any

Package: python3.13
Status: install ok installed

Package: nginx
Status: install ok installed
Depends: libc6

Package: removed
Status: deinstall ok config-files
"""


def test_what_is_wanted_and_essential_comes_with_all_that_it_needs() -> None:
    packages = subset.installed(STATUS)
    assert "removed" not in packages
    assert packages["python3"].needs == (("python3.13", "python3.12"), ("gone", "libc6"))
    found = subset.closure(packages, ["python3"])
    assert found == {"base-files", "mawk", "libc6", "python3", "python3.13"}


def test_a_package_that_is_not_installed_is_an_error() -> None:
    with pytest.raises(KeyError):
        subset.closure(subset.installed(STATUS), ["removed"])


def test_the_files_of_the_packages_their_links_and_what_python_compiled(tmp_path: Path) -> None:
    files = {
        "var/lib/dpkg/status": STATUS,
        "var/lib/dpkg/info/python3.list": "/.\n/usr\n/usr/lib/python3\n/usr/lib/python3/a.py\n",
        "var/lib/dpkg/info/libc6:amd64.list": "/usr/lib/libc.so\n/gone\n",
        "var/lib/dpkg/info/mawk.list": "/bin/mawk\n",
        "var/lib/dpkg/info/nginx.list": "/usr/bin/nginx\n",
        "usr/lib/python3/a.py": "",
        "usr/lib/python3/__pycache__/a.pyc": "",
        "usr/lib/libc.so": "",
        "usr/bin/mawk": "",
        "usr/bin/nginx": "",
        "usr/sbin/own": "",
        "etc/passwd": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "etc/alternatives").mkdir()
    (tmp_path / "etc/alternatives/awk").symlink_to("/usr/bin/mawk")
    (tmp_path / "usr/bin/awk").symlink_to("/etc/alternatives/awk")
    (tmp_path / "bin").symlink_to("usr/bin")
    assert list(subset.paths(tmp_path, ["python3"])) == [
        "bin", "etc/alternatives", "etc/alternatives/awk", "etc/passwd", "usr", "usr/bin/awk",
        "usr/bin/mawk", "usr/lib/libc.so", "usr/lib/python3",
        "usr/lib/python3/__pycache__/a.pyc", "usr/lib/python3/a.py",
    ]  # fmt: skip


@pytest.mark.parametrize("python", ["python3.12", "python3.13"])
def test_the_engines_container_has_no_path_twice(tmp_path: Path, python: str) -> None:
    """docker 24 refuses such a tar, and Ubuntu 24.04 has the folder of the real image's Python."""
    (tmp_path / "usr/lib" / python).mkdir(parents=True)
    system, container = tmp_path / "system.tar", tmp_path / "container.tar"
    with tarfile.open(system, "w") as tar:
        tar.add(tmp_path / "usr/lib" / python, f"./usr/lib/{python}")
    image.write_container_tar(system, container)
    with tarfile.open(container) as tar:
        names = tar.getnames()
    assert len(names) == len(set(names))
    assert "./usr/lib/python3.12" in names
