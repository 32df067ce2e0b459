"""Exit status of a run that ``pytest.exit`` ended: never 0 if anything failed or is missing."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from pytest_pan.plugin.reporting import Controller


class ExitStatus:
    """Plugin of the reporting process that replaces an exit status 0 of an incomplete run."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        try:
            result = yield
        except pytest.exit.Exception as error:
            if error.returncode != 0 or not self._has_failed(session):
                raise
            raise pytest.exit.Exception(error.msg, pytest.ExitCode.TESTS_FAILED) from None
        if session.exitstatus == pytest.ExitCode.OK and self._has_failed(session):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return result

    def _has_failed(self, session: pytest.Session) -> bool:
        return bool(session.testsfailed) or self._controller.is_incomplete(session)
