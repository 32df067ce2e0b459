"""Support for several processes started by a launcher such as torchrun."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any, NoReturn

import pytest

from pytest_pan.engine.audits import Ledger
from pytest_pan.records.errors import PanError


def silence(config: pytest.Config) -> None:
    """Turn off terminal output and JUnit reports; only rank 0 reports."""
    config.pluginmanager.set_blocked("terminalreporter")
    if hasattr(config.option, "xmlpath"):
        config.option.xmlpath = None


class Rank:
    """Plugin for each process of a launcher."""

    def __init__(self, ledger: Ledger, rank: int) -> None:
        self._ledger, self._rank = ledger, rank
        self._old_handler = _interrupt_on_sigterm()

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        if session.config.getoption("collectonly"):
            return
        # join before any fixture can fail: the other processes would wait for this one
        try:
            self._ledger.join()
        except PanError as error:
            raise pytest.UsageError(str(error)) from None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print failures of a silent process, which rank 0 may not have, to standard error."""
        if self._rank and report.failed:
            print(f"rank {self._rank}: {report.nodeid}: {report.longreprtext}", file=sys.stderr)

    def pytest_unconfigure(self) -> None:
        if self._old_handler is not None:
            signal.signal(signal.SIGTERM, self._old_handler)


def _interrupt_on_sigterm() -> Any:
    """Make SIGTERM end the run as Ctrl-C does, with reports; return the previous handler.

    The launcher sends SIGTERM when another process died.
    """

    def interrupt(_signum: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt("terminated by the launcher: another process may have died")

    if threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGTERM, interrupt)
