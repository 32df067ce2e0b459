"""JUnit's properties: each limit by its own name, with what it was held against, once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import CONFTEST

TEST = """
import pytest

@pytest.mark.pan(min_pan_count=15, max_pan_count=99, max_pan_fraction={"*": 0.5})
def test_three(request):
    request.node.user_properties += [("weather", "fine"), ("weather", "dull")]
"""

TWICE = """
from _pytest.runner import runtestprotocol

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    '''As plugins do that run a failed test again.'''
    runtestprotocol(item, nextitem=nextitem)
    item._initrequest()
    runtestprotocol(item, nextitem=nextitem)
    return True
"""


def properties(folder: Path) -> list[tuple[str, str]]:
    """Those of the last test case."""
    *_, case = ElementTree.parse(folder / "junit.xml").iter("testcase")  # noqa: S314
    return [(str(p.get("name")), str(p.get("value"))) for p in case.iter("property")]


def test_limits_of_both_directions_and_of_layers_stand_under_names_of_their_own(
    repo: pytest.Pytester,
) -> None:
    repo.makepyfile(TEST)
    repo.runpytest("--pan-audit", "--junitxml=junit.xml")
    told = dict(properties(repo.path))
    limits = {"min_pan_count": "15", "max_pan_count": "99.0", "max_pan_fraction[*]": "0.5"}
    outcomes = [told[f"{limit}.outcome"] for limit in limits]
    assert outcomes == ["pass", "pass", "fail"]
    assert {limit: float(told[f"{limit}.bound"]) for limit in limits} == {
        limit: float(bound) for limit, bound in limits.items()
    }
    assert [float(told[limit]) for limit in limits] == [15, 15, 1]


def test_a_test_that_is_run_again_tells_them_anew_and_not_twice(repo: pytest.Pytester) -> None:
    conftest = CONFTEST.format(model="fifteen_types()", images="bright_images(60, size=10)")
    repo.makeconftest(conftest + TWICE)
    repo.makepyfile(TEST)
    repo.runpytest("--pan-audit", "--junitxml=junit.xml")
    counts = Counter(name for name, _ in properties(repo.path))
    assert counts.pop("weather") > 1  # what the test itself records is not ours to drop
    assert set(counts.values()) == {1}
    assert len(counts) == 4 * 3
