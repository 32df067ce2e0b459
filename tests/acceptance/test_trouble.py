"""What goes wrong half-way: a clear error, and nothing lost of what had finished."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import declare

TEST = """
import pytest

@pytest.mark.pan(max_pan_fraction=1.0)
def test_padding(): ...
"""

RAISES = """torch.nn.Sequential(
    fifteen_types(), conv(torch.ones(1, 15, 3, 3)), torch.nn.Linear(3, 3))"""


def run(repo: pytest.Pytester, *options: str) -> tuple[pytest.RunResult, dict[str, Any]]:
    repo.makepyfile(TEST)
    result = repo.runpytest("--pan-audit", "--pan-report=json", "--pan-report=html", *options)
    report = repo.path / "pan-report.json"
    return result, json.loads(report.read_text()) if report.exists() else {}


def interrupted(repo: pytest.Pytester) -> pytest.RunResult:
    """A run that ends as Ctrl-C ends it."""
    options = ("--pan-audit", "--pan-report=json")
    result = repo.runpytest_inprocess(*options, no_reraise_ctrlc=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    return result


def test_a_model_that_raises_half_way_leaves_a_partial_report_of_the_layers_that_ran(
    repo: pytest.Pytester,
) -> None:
    declare(repo, model=RAISES)
    result, report = run(repo)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["Sequential: the model raised RuntimeError*mat1 and mat2*"])
    (audit,) = report["audits"]
    assert audit["partial"].startswith("the model raised RuntimeError")
    assert [site["name"] for site in audit["sites"]] == ["0", "1"]
    assert len(audit["neurons"]) >= 15
    assert "the model raised RuntimeError" in (repo.path / "pan-report.html").read_text()


def test_images_that_do_not_fit_the_model_are_named_with_their_shape(
    repo: pytest.Pytester,
) -> None:
    declare(repo, images="torch.rand(60, 3, 10, 10)")
    result, report = run(repo)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["Conv2d: the model raised *images of shape (3, 10, 10)*"])
    assert report["audits"][0]["partial"]


def test_a_model_without_padded_convolutions_is_an_error_that_lists_what_it_has(
    repo: pytest.Pytester,
) -> None:
    declare(repo, model="torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.Conv2d(2, 2, 3))")
    result, _ = run(repo)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*no padded convolution to examine, got 2 convolutions: 1x1 kernel (1), no padding (1)*"]
    )


def test_images_beyond_the_memory_set_aside_are_counted_and_the_report_says_so(
    repo: pytest.Pytester,
) -> None:
    repo.makeini("[pytest]\npan_memory = 100000\n")
    declare(repo, images="torch.rand(900, 1, 10, 10) + 1")
    result, report = run(repo, "--pan-batch-size=50")
    result.assert_outcomes(passed=1)
    audit = report["audits"][0]
    assert any("counted between fixed edges" in note for note in audit["notes"])
    assert audit["measures"]["pan_count"]["bounds"] == [15, 15]


def test_no_limit_passes_on_a_model_with_a_layer_that_overflows(repo: pytest.Pytester) -> None:
    """The first layer is as planted, and the second would be left out of every figure."""
    repo.makeconftest(
        """
        import pytest, torch
        from nets import bright_images, fifteen_types

        class Overflows(torch.nn.Module):
            def forward(self, x):
                return x * 3e38 * 10

        @pytest.fixture
        def pan_model():
            late = torch.nn.Conv2d(15, 4, 3, padding=1)
            return torch.nn.Sequential(fifteen_types(), Overflows(), late)

        @pytest.fixture
        def pan_images():
            return bright_images(count=60)
        """
    )
    repo.makepyfile(
        """
        import pytest

        @pytest.mark.pan(max_pan_fraction=1.0)
        def test_whole(): ...

        @pytest.mark.pan(max_pan_fraction={"0": 1.0})
        def test_of_the_layer_that_is_known(): ...
        """
    )
    result = repo.runpytest("--pan-audit")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*pan_fraction 100.00 % cannot be checked against max_pan_fraction = 100.00 % *",
            "*not included: 2 (activations not finite in 4 of 4 channels, *",
        ]
    )


def test_an_aborted_run_writes_what_had_finished_and_says_so(repo: pytest.Pytester) -> None:
    repo.makepyfile(
        test_a="def test_a(pan_audit): ...", test_b="def test_b(): raise KeyboardInterrupt"
    )
    result = interrupted(repo)
    report = json.loads((repo.path / "pan-report.json").read_text())
    assert "interrupted" in report["partial"]
    assert len(report["audits"]) == 1
    result.stdout.fnmatch_lines(["PARTIAL: the run was interrupted*"])


def test_stopping_at_the_first_failure_is_marked_partial(repo: pytest.Pytester) -> None:
    repo.makepyfile(
        test_a="def test_a(pan_audit): assert False", test_b="def test_b(pan_audit): ..."
    )
    repo.runpytest("--pan-audit", "--pan-report=json", "-x")
    report = json.loads((repo.path / "pan-report.json").read_text())
    assert "stopping after 1 failures" in report["partial"]


def test_an_interrupted_audit_leaves_what_had_finished(repo: pytest.Pytester) -> None:
    """Ctrl-C, or a time-out, in the second layer of a forward pass."""
    repo.makepyfile(
        nets2="""
        import torch

        class Interrupts(torch.nn.Module):
            def forward(self, x):
                if len(x) > 3:  # not when the fingerprint is taken
                    raise KeyboardInterrupt
                return x
        """
    )
    declare(repo, model="torch.nn.Sequential(fifteen_types(), __import__('nets2').Interrupts())")
    repo.makepyfile(TEST)
    interrupted(repo)
    report = json.loads((repo.path / "pan-report.json").read_text())
    assert report["audits"][0]["partial"] == "interrupted (KeyboardInterrupt)"
    assert len(report["audits"][0]["neurons"]) == 15


def test_a_test_whose_model_does_not_load_keeps_the_report_from_looking_green(
    repo: pytest.Pytester,
) -> None:
    repo.makepyfile(
        test_good=TEST, test_other="def test_other(pan):\n    pan('nowhere:model', None)\n"
    )
    result = repo.runpytest("--pan-audit", "--pan-report=json", "--pan-report=html")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    report = json.loads((repo.path / "pan-report.json").read_text())
    assert "test_other" in report["partial"]
    assert "test_other" in (repo.path / "pan-report.html").read_text()


def test_a_failed_audit_does_not_hold_on_to_activations(repo: pytest.Pytester) -> None:
    declare(repo, model=RAISES)
    repo.makepyfile(
        """
        import gc, pytest, torch

        def test_a(pan, pan_model, pan_images):
            def held():
                gc.collect()
                return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())

            before = held()
            with pytest.raises(pytest.fail.Exception):
                pan(pan_model, pan_images)
            assert held() <= before
        """
    )
    repo.runpytest("--pan-audit").assert_outcomes(passed=1)


def test_a_data_sets_own_convolutions_are_not_the_models(repo: pytest.Pytester) -> None:
    repo.makeconftest(
        """
        import pytest, torch
        from nets import fifteen_types, bright_images

        class Blurred(torch.utils.data.Dataset):
            images = bright_images(60)
            cache = {}
            def __len__(self): return 60
            def __getitem__(self, i):
                kernel = torch.ones(1, 1, 3, 3) / 9
                self.cache[i] = torch.conv2d(self.images[i][None], kernel, padding=1)[0]
                return self.cache[i]

        @pytest.fixture
        def pan_model(): return fifteen_types()

        @pytest.fixture
        def pan_images(): return Blurred()
        """
    )
    repo.makepyfile(
        """
        def test_a(pan_audit, pan_model, pan_images):
            assert [site.name for site in pan_audit.sites] == ["(model)"]
            pan_model(pan_images.cache[0][None]).sum().backward()
        """
    )
    repo.runpytest("--pan-audit").assert_outcomes(passed=1)


def test_the_model_is_as_it_was_also_when_it_raised(repo: pytest.Pytester) -> None:
    declare(repo, model=RAISES + ".train()")
    repo.makepyfile(
        """
        import pytest, torch

        def test_a(pan, pan_model, pan_images):
            before = {k: v.clone() for k, v in pan_model.state_dict().items()}
            draws = torch.get_rng_state()
            with pytest.raises(pytest.fail.Exception):
                pan(pan_model, pan_images)
            assert all(module.training for module in pan_model.modules())
            assert all(torch.equal(v, before[k]) for k, v in pan_model.state_dict().items())
            assert torch.equal(draws, torch.get_rng_state())
            assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled()
        """
    )
    repo.runpytest("--pan-audit").assert_outcomes(passed=1)


def test_an_audit_that_failed_is_not_tried_again(repo: pytest.Pytester) -> None:
    repo.makeconftest(
        """
        import pytest, torch

        class Broken(torch.nn.Module):
            calls = 0
            def forward(self, x):
                type(self).calls += 1
                raise ValueError(f"no {len(x)}")

        @pytest.fixture(scope="session")
        def pan_model(): return Broken()

        @pytest.fixture(scope="session")
        def pan_images(): return torch.rand(60, 1, 8, 8)

        def pytest_sessionfinish(): print("calls:", Broken.calls)
        """
    )
    repo.makepyfile("".join(f"def test_{name}(pan_audit): ...\n" for name in "abc"))
    result = repo.runpytest("--pan-audit")
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines("*calls: 4")  # one an audit, one a fingerprint
