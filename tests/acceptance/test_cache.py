"""The audit cache: the very same audit is not made twice, and nothing else is taken for it.

Longer than 350 lines: one feature, whose tests share one repository.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from image_files import paint

import pytest_pan.cache.store
import pytest_pan.engine.pipeline
from pytest_pan.cache.lookup import hardware

CONFTEST = """
import time
import pytest, torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from nets import bright_images, fifteen_types

def squash(x):
    return x * 1.0

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = fifteen_types()

    def forward(self, x):
        return squash(self.conv(x)).mean((2, 3))

class Stream(IterableDataset):
    def __iter__(self):
        return iter(bright_images(count=60, size=10))

@pytest.fixture(scope="session")
def pan_model():
    return Net()

@pytest.fixture(scope="session")
def pan_images():
    images, labels = bright_images(count=60, size=10), torch.arange(60) % 15
    return TensorDataset(images, labels)

@pytest.fixture(scope="session")
def pan_transform():
    return lambda image: image + 0.0

@pytest.fixture(scope="session")
def pan_outputs():
    return lambda output: output + 0.0

@pytest.fixture(scope="session")
def pan_classes():
    return [f"class {number}" for number in range(15)]
"""
TEST = """
import pytest

@pytest.mark.pan(max_pan_fraction=1.0)
def test_padding(): ...
"""
EVERY_PROBE = "--pan-probes=influence,intrusion"
OF_A_RUN = ("created", "seconds")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The audits that were made, and not taken from the cache, by name."""
    names: list[str] = []
    run = pytest_pan.engine.pipeline.run

    def counted(*args: Any, **given: Any) -> Any:
        names.append(given["name"])
        return run(*args, **given)

    monkeypatch.setattr(pytest_pan.engine.pipeline, "run", counted)
    return names


@pytest.fixture
def ready(repo: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a pyc of the same second would be used
    repo.makeconftest(CONFTEST)
    repo.makepyfile(test_padding=TEST)
    return repo


def audited(repo: pytest.Pytester, *options: str, passed: int = 1) -> dict[str, Any]:
    """The JSON report of a run."""
    repo.runpytest("--pan-audit", "--pan-report=json", *options).assert_outcomes(passed=passed)
    report: dict[str, Any] = json.loads((repo.path / "pan-report.json").read_text())
    return report


def entries(repo: pytest.Pytester) -> list[Path]:
    return sorted(repo.path.glob(".pytest_cache/d/pan/*/*.npz"))


def test_a_second_run_gives_the_same_report_without_an_audit(
    ready: pytest.Pytester, made: list[str]
) -> None:
    first, second = audited(ready, EVERY_PROBE), audited(ready, EVERY_PROBE)
    assert made == ["Net"]
    (before,), (after,) = first.pop("audits"), second.pop("audits")
    assert (before.pop("cached"), after.pop("cached")) == (False, True)
    assert after == before
    assert before["measures"]["log_odds_shift"]["value"] > 0
    for report in (first, second):
        for key in OF_A_RUN:
            report.pop(key)
    assert first == second


def test_the_terminal_says_where_the_cache_is_and_what_came_from_it(
    ready: pytest.Pytester, made: list[str]
) -> None:
    first, second = (ready.runpytest("--pan-audit") for _ in range(2))
    first.stdout.fnmatch_lines(["pan: cache .pytest_cache/d/pan", "*; 1 audit made: 1 layer*"])
    first.stdout.no_fnmatch_line("*cached*")
    second.stdout.fnmatch_lines(["  *images/s: * (cached)", "*1 audit made (1 from the cache): *"])


CHANGES = {
    "a weight": ("fifteen_types()\n", "fifteen_types()\n        self.conv.weight.data.mul_(2)\n"),
    "code": ("x * 1.0", "x * 1.5"),
    "the forward pass": (".mean((2, 3))", ".amax((2, 3))"),
    "an image": ("count=60, size=10), torch", "count=60, size=10, seed=1), torch"),
    "the number of images": ("labels)", "labels[:55])"),
    "a label": ("% 15", "% 14"),
    "no labels": ("TensorDataset(images, labels)", "images"),
    "the transform": ("image + 0.0", "image + 1.0"),
    "what is picked": ("output + 0.0", "output * 2.0"),
    "a name of a class": ("class {number}", "kind {number}"),
}


@pytest.mark.parametrize(("old", "new"), CHANGES.values(), ids=CHANGES)
def test_an_audit_of_anything_else_is_made(
    ready: pytest.Pytester, made: list[str], old: str, new: str
) -> None:
    audited(ready)
    assert CONFTEST.count(old) == 1
    text = CONFTEST.replace(old, new)
    if new == "images":  # a tensor has no transform
        text = text.replace("return lambda image: image + 0.0", "return None")
    if "55" in new:
        text = text.replace("TensorDataset(images,", "TensorDataset(images[:55],")
    ready.makeconftest(text)
    audited(ready)
    assert len(made) == 2
    ready.makeconftest(CONFTEST)
    audited(ready)
    assert len(made) == 2


@pytest.mark.parametrize(
    "option",
    ["--pan-theta=0.4", "--pan-seed=1", "--pan-batch-size=7", "--pan-mode=mean", "--pan-draws=1"],
)
def test_an_audit_with_other_settings_is_made(
    ready: pytest.Pytester, made: list[str], option: str
) -> None:
    audited(ready)
    audited(ready, option)
    assert len(made) == 2


def test_an_audit_on_other_versions_is_made(
    ready: pytest.Pytester, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    audited(ready)
    for place, value in (
        ("pytest_pan.cache.lookup._method", ("other code",)),
        ("torch.__version__", "9.9.9"),
        ("pytest_pan.instrument.devices.arithmetic", {"threads": 99}),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, value if isinstance(value, str) else lambda value=value: value)
            audited(ready)
    assert len(made) == 4


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (
            "TensorDataset(images, labels)",
            "DataLoader(Stream(), batch_size=4)",
            "images are an IterableDataset*",
        ),
        (
            "TensorDataset(images, labels)",
            "DataLoader(images, shuffle=True, generator=torch.Generator())",
            "DataLoader draws the images with a generator of its own",
        ),
    ],
    ids=["a stream", "a loader with a generator"],
)
def test_what_cannot_be_told_for_certain_is_not_cached_and_said(
    ready: pytest.Pytester, made: list[str], old: str, new: str, why: str
) -> None:
    text = CONFTEST.replace("return lambda image: image + 0.0", "return None")
    ready.makeconftest(text.replace(old, new))
    ready.makepyfile(test_padding="def test_padding(pan_audit): ...")
    for _ in range(2):
        result = ready.runpytest("--pan-audit", "--pan-report=json")
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines([f"  note: not cached: *{why}"])
    assert len(made) == 2
    assert not entries(ready)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--pan-no-cache",), "--pan-no-cache"),
        (("-o", "pan_cache=false"), "pan_cache = false"),
        (("-p", "no:cacheprovider"), "-p no:cacheprovider"),
    ],
)
def test_it_can_be_turned_off_and_the_header_says_so(
    ready: pytest.Pytester, made: list[str], options: tuple[str, ...], said: str
) -> None:
    audited(ready)
    kept = [(path, path.stat().st_mtime_ns) for path in entries(ready)]
    result = ready.runpytest("--pan-audit", *options)
    result.stdout.fnmatch_lines([f"pan: no cache ({said})"])
    assert len(made) == 2
    assert [(path, path.stat().st_mtime_ns) for path in entries(ready)] == kept


def test_a_wrong_value_is_refused_with_exit_code_4(ready: pytest.Pytester) -> None:
    ready.makeini("[pytest]\npan_cache = perhaps\n")
    result = ready.runpytest("--pan-audit")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*pan_cache in tox.ini: *'perhaps'*; allowed: true, false"])


def test_pytests_own_option_clears_it(ready: pytest.Pytester, made: list[str]) -> None:
    audited(ready)
    audited(ready, "--cache-clear")
    assert len(made) == 2
    assert len(entries(ready)) == 1


@pytest.mark.parametrize("size", [0, 1000])
def test_an_entry_that_was_cut_is_made_anew_with_a_warning(
    ready: pytest.Pytester, made: list[str], size: int
) -> None:
    first = audited(ready)
    (entry,) = entries(ready)
    whole = entry.read_bytes()
    entry.write_bytes(whole[:size])
    result = ready.runpytest("--pan-audit", "--pan-report=json", "-W", "default")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(
        ["*PanWarning: *.npz in the cache cannot be read*the audit ran again*"]
    )
    second = json.loads((ready.path / "pan-report.json").read_text())
    assert second["audits"][0]["measures"] == first["audits"][0]["measures"]
    assert len(made) == 2
    audited(ready)
    assert len(made) == 2


TWO = """
def test_one(pan_audit): ...
def test_two(pan_audit): ...
"""


@pytest.mark.parametrize("trouble", ["an entry that was cut", "a disk that is full"])
def test_where_warnings_are_errors_trouble_with_the_cache_costs_one_test_and_no_audit(
    ready: pytest.Pytester, made: list[str], monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    ready.makepyfile(test_padding=TWO)
    if trouble == "an entry that was cut":
        audited(ready, passed=2)
        made.clear()
        (entry,) = entries(ready)
        entry.write_bytes(entry.read_bytes()[:1000])
        said = "*PanWarning, *: *.npz in the cache cannot be read*the audit ran again*"
    else:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(pytest_pan.cache.store, "write_bytes", full)
        said = "*PanWarning, *: the audit is not cached: *No space left*"
    result = ready.runpytest("--pan-audit", "--pan-report=json", "-W", "error", "-p", "no:randomly")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines([said])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*asking.py*")
    assert made == ["Net"]
    assert len(json.loads((ready.path / "pan-report.json").read_text())["audits"]) == 1


def test_a_run_of_more_audits_than_are_kept_finds_its_own_again(
    ready: pytest.Pytester, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pytest_pan.cache.store, "MOST", 1)
    ready.makepyfile(
        test_padding="""
        import pytest

        @pytest.mark.parametrize("seed", [1, 2, 3])
        def test_padding(pan, pan_model, pan_images, pan_transform, seed):
            pan(pan_model, pan_images, transform=pan_transform, seed=seed)
        """
    )
    audited(ready, passed=3)
    audited(ready, passed=3)
    assert len(made) == 3
    assert len(entries(ready)) == 3


def test_an_audit_that_failed_is_not_kept(ready: pytest.Pytester, made: list[str]) -> None:
    ready.makeconftest(CONFTEST.replace("x * 1.0", "x @ x[:3]"))
    for _ in range(2):
        result = ready.runpytest("--pan-audit")
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["Net: the model raised *"])
    assert len(made) == 2
    assert not list(ready.path.glob(".pytest_cache/d/pan/*"))


def test_files_are_known_by_their_pixels_and_broken_ones_by_their_names(
    ready: pytest.Pytester, made: list[str], tmp_path: Path
) -> None:
    folder = ready.mkdir("images")
    for number in range(8):
        paint(folder / f"{number}.png", shade=100 + number)
    (folder / "broken.png").write_text("no picture")
    ready.makeconftest(
        CONFTEST.replace("return TensorDataset(images, labels)", "return 'images'").replace(
            "image + 0.0", "torch.tensor(list(image.getdata()))[None, :, 0].view(1, 8, 8) / 99"
        )
    )
    options = ("-o", "pan_bad_images=skip", "-W", "ignore")
    first, again = audited(ready, *options), audited(ready, *options)
    assert first["audits"][0]["skips"] == again["audits"][0]["skips"] != []
    assert len(made) == 1
    changes: tuple[Callable[[], object], ...] = (
        lambda: paint(folder / "3.png", shade=99),
        lambda: (folder / "broken.png").rename(folder / "broken too.png"),
        lambda: (folder / "broken too.png").unlink(),
        lambda: paint(folder / "9.png", shade=200),
    )
    for number, change in enumerate(changes, start=2):
        change()
        audited(ready, *options)
        assert len(made) == number


def test_images_that_can_no_longer_be_read_are_the_audits_own_error(
    ready: pytest.Pytester, made: list[str]
) -> None:
    audited(ready)
    ready.makeconftest(CONFTEST.replace("image + 0.0", "image / 0"))
    result = ready.runpytest("--pan-audit")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["Net: *image 0: not a finite image*"])
    assert len(made) == 2


def test_a_loader_that_shuffles_is_known_by_what_it_gives(
    ready: pytest.Pytester, made: list[str]
) -> None:
    text = CONFTEST.replace("return lambda image: image + 0.0", "return None")
    shuffled = "DataLoader(TensorDataset(images, labels), batch_size=16, shuffle=True)"
    ready.makeconftest(text.replace("TensorDataset(images, labels)", shuffled))
    first, second = audited(ready), audited(ready)
    assert made == ["Net"]
    assert second["audits"][0]["measures"] == first["audits"][0]["measures"]


def test_a_loader_is_known_by_its_batches_too(ready: pytest.Pytester, made: list[str]) -> None:
    """The figures of a BatchNorm2d without running statistics depend on them."""
    text = CONFTEST.replace("return lambda image: image + 0.0", "return None")
    for size in (4, 60, 4):
        loader = f"DataLoader(TensorDataset(images, labels), batch_size={size})"
        ready.makeconftest(text.replace("TensorDataset(images, labels)", loader))
        audited(ready)
    assert len(made) == 2


def test_an_audit_is_that_of_any_gpu_of_its_kind_unless_one_is_asked_for() -> None:
    first = hardware("auto", torch.device("cuda", 0), {"device": "cuda:0 (X)", "gpu": "X"})
    second = hardware("auto", torch.device("cuda", 1), {"device": "cuda:1 (X)", "gpu": "X"})
    other = hardware("auto", torch.device("cuda", 1), {"device": "cuda:1 (Y)", "gpu": "Y"})
    asked = hardware("cuda:1", torch.device("cuda", 1), {"device": "cuda:1 (X)", "gpu": "X"})
    assert first == second
    assert len({str(one) for one in (first, other, asked)}) == 3


def test_what_is_collected_only_leaves_no_folder(ready: pytest.Pytester) -> None:
    ready.runpytest("--pan-audit", "--collect-only")
    ready.runpytest()
    assert not (ready.path / ".pytest_cache/d/pan").exists()
