"""A process that a launcher such as torchrun started with others: keeps step, and ends in peace."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any, NoReturn

import pytest

from pytest_pan.engine.audits import Ledger
from pytest_pan.records.errors import PanError


def be_silent(config: pytest.Config) -> None:
    """Of several processes that run the same tests the first one speaks for all."""
    config.pluginmanager.set_blocked("terminalreporter")
    if hasattr(config.option, "xmlpath"):
        config.option.xmlpath = None


class Companion:
    """The hooks of each of several processes."""

    def __init__(self, ledger: Ledger, rank: int) -> None:
        self._ledger, self._rank = ledger, rank
        self._before = _stop_when_told()

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        if session.config.getoption("collectonly"):
            return
        # before any fixture can fail: a process that nobody joins would be waited for
        try:
            self._ledger.join()
        except PanError as error:
            raise pytest.UsageError(str(error)) from None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Failures of a silent process go to standard error: another may not know of them."""
        if self._rank and report.failed:
            print(f"rank {self._rank}: {report.nodeid}: {report.longreprtext}", file=sys.stderr)

    def pytest_unconfigure(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)


def _stop_when_told() -> Any:
    """Lets the launcher's SIGTERM, sent when another process died, end the run as Ctrl-C does:
    what had finished is reported. Returns the handler that was there.
    """

    def stop(_signum: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt("terminated by the launcher: has another process died?")

    if threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGTERM, stop)
