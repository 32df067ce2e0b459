"""Running the command pytest-pan in this process."""

from __future__ import annotations

from click.testing import CliRunner, Result

from pytest_pan.cli import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refused(result: Result, *words: str) -> bool:
    """Whether it ended as wrong usage does: one line, all words in it, no traceback."""
    (line,) = result.output.splitlines()
    assert all(word in line for word in words), line
    return result.exit_code == 2 and isinstance(result.exception, SystemExit)
