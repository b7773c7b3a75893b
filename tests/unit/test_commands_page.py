"""docs/commands.md says what the command line is."""

from __future__ import annotations

from tests import commands_page


def test_the_page_is_that_of_the_command_line() -> None:
    assert commands_page.PAGE.read_text(encoding="utf-8") == commands_page.text(), (
        "python -m tests.commands_page"
    )


def test_a_usage_line_has_each_bracket_once() -> None:
    usages = [line for line in commands_page.text().splitlines() if line.startswith("### ")]
    assert len(usages) > 50
    assert not [line for line in usages if "[[" in line or "]]" in line]
