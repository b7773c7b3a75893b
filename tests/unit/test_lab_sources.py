"""The mirror is taken from the machine's own apt sources, in both their formats."""

from pathlib import Path

import pytest

from spark_cluster.core.error import LabError
from spark_cluster.lab import sources
from spark_cluster.lab.sources import Source

LIST = """
# deb http://commented.example/debian trixie main
deb-src http://source.example/debian trixie main
deb [arch=amd64 signed-by=/x.gpg] http://vendor.example/apt stable nonfree
deb http://security.example/debian-security bookworm-security main
deb http://pool.example/debian bookworm main contrib # the one
"""

DEB822 = """\
Types: deb
# http://snapshot.example/20250520
URIs: http://pool.example/debian
Suites: bookworm bookworm-updates
Components: main
 contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.example/debian
Suites: bookworm
Components: main
"""


def test_one_line_format() -> None:
    assert sources.parse_list(LIST)[-1] == Source(
        "http://pool.example/debian", ("bookworm",), ("main", "contrib")
    )
    assert sources.choose("debian", sources.parse_list(LIST)).uri == "http://pool.example/debian"


def test_deb822_format() -> None:
    assert sources.parse_deb822(DEB822) == [
        Source("http://pool.example/debian", ("bookworm", "bookworm-updates"), ("main", "contrib"))
    ]


def test_both_formats_are_read(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text("deb http://a.example/debian sid main\n")
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "b.sources").write_text(DEB822)
    (tmp_path / "sources.list.d" / "c.save").write_text("deb http://c.example/debian sid main\n")
    uris = [source.uri for source in sources.read_sources(tmp_path)]
    assert uris == ["http://a.example/debian", "http://pool.example/debian"]


@pytest.mark.parametrize(
    ("release", "distro", "suite", "components"),
    [
        ('ID=debian\nVERSION_ID="12"\n', "debian", "trixie", ("main",)),
        ('ID=ubuntu\nID_LIKE="debian"\n', "ubuntu", "noble", ("main", "universe")),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', "ubuntu", "noble", ("main", "universe")),
    ],
)
def test_the_release_decides_the_suite(
    release: str, distro: str, suite: str, components: tuple[str, ...]
) -> None:
    found = sources.distro_of(release)
    assert found == distro
    mirror = sources.choose(found, [Source("http://m.example/", (suite,), ("main",))])
    assert (mirror.suite, mirror.components) == (suite, components)


def test_another_distribution_is_refused() -> None:
    with pytest.raises(LabError):
        sources.distro_of("ID=fedora\n")


def test_what_the_user_names_wins() -> None:
    listed = [Source("http://pool.example/debian", ("bookworm",), ("main",))]
    mirror = sources.choose("debian", listed, mirror="http://mine.example/", suite="forky")
    assert (mirror.uri, mirror.suite) == ("http://mine.example/", "forky")


def test_no_base_archive_names_the_option() -> None:
    pockets = [Source("http://s.example/", ("trixie-security",), ("main",))]
    with pytest.raises(LabError) as error:
        sources.choose("debian", pockets)
    assert "--mirror" in error.value.remedy
