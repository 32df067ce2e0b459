"""Limits on what the padding does to the predictions, as a model repo's tests declare them."""

from __future__ import annotations

import json

import pytest

DECIDED = """
import math, pytest, torch
from torch import nn
from nets import bright_images, conv, missing

class Decided(nn.Module):
    '''Class 0 is decided by a T-PAN alone, class 1 by a filter that sees its own pixel only.

    The PAN's output is 0 in the top row and -1 to -1.2 elsewhere, so its maximum is 0; reflected,
    it is -1 to -1.2 everywhere.
    '''
    def __init__(self):
        super().__init__()
        own = torch.zeros(1, 3, 3)
        own[0, 1, 1] = 1
        self.conv = conv(torch.stack([missing("T"), own]))

    def forward(self, x):
        return self.conv(x).amax((2, 3))

@pytest.fixture(scope="session")
def pan_model():
    return Decided()

@pytest.fixture(scope="session")
def images():
    return bright_images(count=60, size=10)

@pytest.fixture(scope="session")
def pan_images(images):
    return torch.utils.data.TensorDataset(images, torch.ones(60, dtype=torch.long))

@pytest.fixture(scope="session")
def pan_classes():
    return ["padded", "pixel"]
"""


@pytest.fixture
def decided(repo: pytest.Pytester) -> pytest.Pytester:
    repo.makeconftest(DECIDED)
    return repo


def test_a_limit_on_the_odds_asks_for_its_probe_and_holds_the_hand_computed_value(
    decided: pytest.Pytester,
) -> None:
    """The oracle pads the images by reflection itself and sums two softmaxes."""
    decided.makepyfile(
        """
        import math, pytest, torch
        import torch.nn.functional as F

        def expected(images):
            above = F.pad(images, (1, 1, 1, 1), mode="reflect")[:, 0, :-2, 1:-1]
            pixel = images.amax((1, 2, 3))
            before = torch.stack([torch.zeros(60), pixel], 1).double().softmax(1).sum(0)
            after = torch.stack([-above.amin((1, 2)), pixel], 1).double().softmax(1).sum(0)
            return (after / before).log()

        @pytest.mark.pan(max_log_odds_shift={"pixel": 0.4, "padded": 0.1}, max_prediction_flips=9)
        def test_limits(pan_audit, images):
            odds = expected(images)
            found = pan_audit.influence[0]
            assert found.plan.name == "PAN-reflect" and found.plan.channels == {"conv": (0,)}
            torch.testing.assert_close(torch.tensor(found.log_odds).double(), odds)
            shift = pan_audit.measures["log_odds_shift"].value
            assert shift == pytest.approx(float(odds.abs().max()))
            for draw in pan_audit.influence[1:-1]:
                assert draw.log_odds == (0, 0)
        """
    )
    result = decided.runpytest("--pan-audit", "--pan-report=json", "--pan-report=html")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*: log_odds_shift of padded * is above max_log_odds_shift[[]padded[]] = 0.1 *",
            "*random neurons, same class: 0, 0, 0",
            "*log_odds_shift *random neurons 0, 0, 0",
            "*PASS log_odds_shift of pixel *(max 0.4)*",
            "*PASS prediction_flips 0 (max 9)*",
        ]
    )
    (audit,) = json.loads((decided.path / "pan-report.json").read_text())["audits"]
    names = [entry["plan"]["name"] for entry in audit["influence"]]
    assert names == ["PAN-reflect", *["RAND-reflect"] * 3, "reflect"]
    assert len(audit["influence"][0]["log_odds"]) == 2
    assert audit["classes"] == ["padded", "pixel"]
    assert "Effect of the padding" in (decided.path / "pan-report.html").read_text()


def test_without_such_a_limit_the_probe_runs_only_when_asked_for(decided: pytest.Pytester) -> None:
    decided.makepyfile("def test_a(pan_audit): assert bool(pan_audit.influence) is True")
    decided.runpytest("--pan-audit").assert_outcomes(failed=1)
    decided.runpytest("--pan-audit", "--pan-probes=influence").assert_outcomes(passed=1)
    decided.makeini("[pytest]\npan_probes = pans, influence\npan_draws = 2\npan_mode = replicate\n")
    decided.makepyfile(
        """
        def test_a(pan_audit):
            names = [found.plan.name for found in pan_audit.influence]
            assert names == ["PAN-replicate", "RAND-replicate", "RAND-replicate", "replicate"]
        """
    )
    decided.runpytest("--pan-audit").assert_outcomes(passed=1)


def test_a_class_that_is_not_there_fails_with_the_nearest(decided: pytest.Pytester) -> None:
    decided.makepyfile(
        """
        import pytest

        @pytest.mark.pan(max_log_odds_shift={"pixle": 0.4})
        def test_limits(): ...
        """
    )
    result = decided.runpytest("--pan-audit")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*no class 'pixle' among 2; did you mean 'pixel'?"])


def test_accuracy_without_labels_fails_rather_than_pass_unseen(decided: pytest.Pytester) -> None:
    decided.makepyfile(
        """
        import pytest

        @pytest.fixture
        def pan_images(images):
            return images

        @pytest.mark.pan(max_accuracy_drop=0.5)
        def test_limits(): ...
        """
    )
    result = decided.runpytest("--pan-audit")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*not measured: it needs labels*"])


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ("max_classes_shifted={'a': 1}", "*bounds by class or layer of max_classes_shifted*"),
        ("max_log_odds_shift={'a': 'b'}", "*bound of max_log_odds_shift?a?, got 'b'*"),
        ("max_log_odds_shift={}", "*bounds by class*"),
    ],
)
def test_wrong_bounds_by_class_are_refused(
    decided: pytest.Pytester, limits: str, message: str
) -> None:
    decided.makepyfile(f"import pytest\n@pytest.mark.pan({limits})\ndef test_a(): ...")
    result = decided.runpytest("--pan-audit")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--pan-probes=pan", "*--pan-probes: setting, got 'pan'; allowed: pans, influence*"),
        ("--pan-mode=mirror", "*--pan-mode: setting, got 'mirror'; allowed: reflect, symmetric*"),
        ("--pan-draws=-1", "*--pan-draws: setting, got '-1'*"),
    ],
)
def test_wrong_options_are_refused(decided: pytest.Pytester, option: str, message: str) -> None:
    decided.makepyfile("def test_a(pan_audit): ...")
    result = decided.runpytest("--pan-audit", option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


@pytest.mark.parametrize(
    ("outputs", "labels", "message"),
    [
        ("None", "torch.full((60,), 7)", "*label outside the classes, got 7; allowed: 0 to 1*"),
        ("lambda out: 'text'", "None", "*no logits in the model's output, got str; allowed: a fl*"),
    ],
)
def test_outputs_and_labels_that_do_not_fit_leave_the_pans_in_a_partial_report(
    decided: pytest.Pytester, outputs: str, labels: str, message: str
) -> None:
    decided.makepyfile(
        f"""
        import pytest, torch

        @pytest.fixture
        def pan_outputs(): return {outputs}

        @pytest.fixture
        def pan_images(images):
            labels = {labels}
            return images if labels is None else torch.utils.data.TensorDataset(images, labels)

        @pytest.mark.pan(max_prediction_flips=0)
        def test_limits(): ...
        """
    )
    result = decided.runpytest("--pan-audit", "--pan-report=json")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([message])
    (audit,) = json.loads((decided.path / "pan-report.json").read_text())["audits"]
    assert audit["partial"]
    assert len(audit["neurons"]) == 1


def test_a_row_of_zeros_inside_the_image_makes_the_pan_fire_and_is_bounded(
    decided: pytest.Pytester,
) -> None:
    """On every one of sixty images the planted PAN answers 0 below the row, as at the border."""
    decided.makepyfile(
        """
        import pytest, torch
        from nets import bright_images

        @pytest.fixture
        def pan_images(): return bright_images(count=60, size=24)

        @pytest.mark.pan(max_intrusion_flips=4)
        def test_limits(pan_audit):
            rows = [line for line in pan_audit.intrusion if line.axis == "row"]
            assert [line.pans_fired for line in rows] == [1, 1, 1]
            assert "influence" not in pan_audit.findings
        """
    )
    result = decided.runpytest("--pan-audit", "--pan-report=html", "--pan-report=json")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*a row of zeros inserted at 0.25 *", "*PASS intrusion_flips 0*"])
    (audit,) = json.loads((decided.path / "pan-report.json").read_text())["audits"]
    assert len(audit["findings"]["intrusion"]) == 6
    assert "Zeros inside the image" in (decided.path / "pan-report.html").read_text()


def test_pans_that_cannot_be_swapped_hold_no_limit_on_what_their_swap_does(
    repo: pytest.Pytester,
) -> None:
    """A 4x4 map cannot be reflected by 4: nothing is swapped, and nothing may look harmless."""
    repo.makeconftest(
        """
        import pytest, torch
        from torch import nn

        @pytest.fixture(scope="session")
        def pan_model():
            torch.manual_seed(0)
            wide = nn.Conv2d(3, 40, 9, padding=4)
            return nn.Sequential(nn.AdaptiveAvgPool2d(4), wide, nn.Flatten(), nn.Linear(640, 9))

        @pytest.fixture(scope="session")
        def pan_images():
            return 1 + torch.rand(60, 3, 12, 12)
        """
    )
    repo.makepyfile(
        """
        import pytest

        @pytest.mark.pan(max_log_odds_shift=1, max_prediction_flips=60, max_nascent_fraction=1)
        def test_limits(pan_audit):
            assert pan_audit.pan_count
        """
    )
    result = repo.runpytest("--pan-audit")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*not measured*", "*PANs could not be swapped: the map is too small"]
    )


def test_folders_that_are_not_the_models_classes_give_no_labels(
    decided: pytest.Pytester,
) -> None:
    decided.makepyfile(
        """
        import pytest, torch
        from torch.utils.data import TensorDataset

        class Foldered(TensorDataset):
            classes = ["cats", "dogs", "birds"]

        @pytest.fixture
        def pan_images(images):
            return Foldered(images, torch.zeros(60, dtype=torch.long))

        @pytest.fixture
        def pan_classes(): return None

        @pytest.mark.pan(max_accuracy_drop=1.0)
        def test_limits(): ...
        """
    )
    result = decided.runpytest("--pan-audit")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*labels ignored: they have 3 classes, the model has 2*"])


def test_top_five_accuracy_counts_labels_among_the_five_likeliest(repo: pytest.Pytester) -> None:
    """A model whose logits are 7, 6, ... 1 whatever it sees: labels 0 to 4 are among the five."""
    repo.makepyfile(
        """
        import pytest_pan, torch
        from torch import nn
        from torch.utils.data import TensorDataset

        class Steps(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(1, 7, 3, padding=1)

            def forward(self, x):
                return 1e-9 * self.conv(x).mean((2, 3)) + torch.arange(7.0, 0, -1)

        def test_a(pan):
            labels = torch.arange(56) % 7
            images = TensorDataset(torch.rand(56, 1, 8, 8), labels)
            found = pan(Steps(), images, probes=("pans", "influence")).influence[0]
            assert found.accuracy == found.accuracy_before == 1 / 7
            assert found.top5_accuracy == found.top5_accuracy_before == 5 / 7
        """
    )
    repo.runpytest("--pan-audit").assert_outcomes(passed=1)
