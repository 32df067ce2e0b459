"""Where the time went, on a clock that the test turns."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from build import make_audit
from nets import fifteen_types
from pages import Page
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from pytest_pan import audit
from pytest_pan.report import html, terminal
from pytest_pan.report import json as json_report


class Clock:
    """Stands still but for what the images and the model are said to take."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow(Dataset[Tensor]):
    """Sixty images that take a second each."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> Tensor:
        self.clock.now += 1
        return 1 + 0.2 * torch.rand(1, 12, 12)


class Thinking(nn.Module):
    """A network that takes a hundred seconds a batch."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.conv, self.clock = fifteen_types(), clock

    def forward(self, x: Tensor) -> Tensor:
        self.clock.now += 100
        return self.conv(x).mean((2, 3))


@pytest.mark.parametrize("collated", [False, True], ids=["data set", "loader"])
def test_loading_counts_in_every_pass_and_in_no_other_stage(
    monkeypatch: pytest.MonkeyPatch, collated: bool
) -> None:
    """Four batches: the original pass, then one a plan, and one a line of zeros."""
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    images: Any = Slow(clock)
    if collated:
        fixed = [images[index] for index in range(60)]
        clock.now = 0
        images = DataLoader(_Fixed(fixed, clock), batch_size=15)
    found = audit(
        Thinking(clock),
        images,
        probes=("pans", "influence", "intrusion"),
        batch_size=15,
        draws=0,
        workers=0,
    )
    plans = len(found.influence)
    assert found.seconds == {
        "load": 120,
        "forward": 400,
        "pans": 0,
        "influence": 400 * plans,
        "intrusion": 400 * 6,
        "uneven": 100,
        "foveation": 100 * 2,
    }
    assert found.images_per_second == pytest.approx(60 / clock.now)


class _Fixed(Slow):
    def __init__(self, fixed: list[Tensor], clock: Clock) -> None:
        super().__init__(clock)
        self.fixed = fixed

    def __getitem__(self, index: int) -> Tensor:
        super().__getitem__(index)
        return self.fixed[index]


def test_the_terminal_and_the_page_say_where_the_time_went() -> None:
    """210 images in 5.25 + 12.25 + 3.5 seconds are ten a second."""
    (line,) = [line for line in terminal.lines([make_audit()]) if "images/s" in line]
    assert line == "  10.0 images/s: load 5.2 s, forward 12.2 s, pans 3.5 s"
    text = "".join(Page(html.render([make_audit()])).text.split())
    assert "load5.25forward12.25pans3.5imagespersecond10.0" in text


def test_an_audit_without_times_says_nothing_of_them() -> None:
    untimed = make_audit(seconds={})
    assert not [line for line in terminal.lines([untimed]) if "images/s" in line]
    assert "images per second" not in html.render([untimed])
    assert untimed.images_per_second == 0


def test_the_json_has_the_seconds_of_the_page_whatever_was_asked_for_first(
    repo: pytest.Pytester,
) -> None:
    repo.makepyfile("def test_padding(pan_audit): ...")
    reports = ("--pan-report=json", "--pan-report=html")
    for asked, keys in ((reports, {"report"}), (reports[::-1], {"report"}), (reports[:1], set())):
        result = repo.runpytest("--pan-audit", *asked)
        body = json.loads(Path(repo.path, "pan-report.json").read_text())
        assert set(body["seconds"]) == keys
        assert all(taken > 0 for taken in body["seconds"].values())
        names = [f"report: *.{option.rpartition('=')[2]}" for option in asked]
        result.stdout.fnmatch_lines(names)


def test_seconds_given_to_the_document_are_in_it() -> None:
    assert json_report.document([], seconds={"report": 1.5})["seconds"] == {"report": 1.5}
    assert json_report.document([])["seconds"] == {}
