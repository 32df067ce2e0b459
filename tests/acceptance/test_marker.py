"""The marker, the fixtures and the factory, as a model repo's tests use them."""

from __future__ import annotations

import json

import pytest
from commands import run
from conftest import declare

LIMITED = """
import pytest

@pytest.mark.pan({limits})
def test_padding(): ...
"""


def test_without_the_option_tests_are_skipped_and_say_how_to_turn_them_on(
    repo: pytest.Pytester,
) -> None:
    repo.makepyfile(
        LIMITED.format(limits="max_pan_fraction=0.5")
        + "def test_hand(pan_audit): assert False\n"
        + "def test_factory(pan): assert False\n"
        + "def test_other(): ...\n"
    )
    result = repo.runpytest("-rs")
    result.assert_outcomes(passed=1, skipped=3)
    result.stdout.fnmatch_lines(["*padding audit is off: run pytest --pan-audit*"])
    result.stdout.no_fnmatch_line("*= padding audit =*")


def test_the_ini_file_can_turn_it_on_for_good(repo: pytest.Pytester) -> None:
    repo.makeini("[pytest]\npan_audit = true\n")
    repo.makepyfile(LIMITED.format(limits="max_pan_fraction=1.0"))
    repo.runpytest().assert_outcomes(passed=1)


def test_a_limit_held_passes_and_a_limit_exceeded_fails_with_exit_code_1(
    repo: pytest.Pytester,
) -> None:
    repo.makepyfile(
        test_within=LIMITED.format(limits="max_pan_count=15, min_pan_count=15"),
        test_beyond=LIMITED.format(limits="max_pan_count=14"),
    )
    result = repo.runpytest("--pan-audit")
    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_failure_names_value_limit_origin_layers_and_worst_neurons(
    repo: pytest.Pytester,
) -> None:
    repo.makepyfile(test_net=LIMITED.format(limits="max_pan_fraction=0.03"))
    result = repo.runpytest("--pan-audit")
    result.stdout.fnmatch_lines(
        [
            "Conv2d: pan_fraction 100.00 % is above max_pan_fraction = 3.00 % "
            "(marker of test_net.py::test_padding)",
            "  15 of 15 neurons in 1 layer are padding aware, on 60 images at theta 0.5",
            "  (model): 100.00 %",
            "  (model) channel * is a * PAN: on * KS 1.00, KS+ 1.00, KS- 0.00",
            "  look closer: add --pan-report=html*",
        ]
    )


def test_limits_of_the_class_and_the_function_add_up_and_the_nearest_wins(
    repo: pytest.Pytester,
) -> None:
    repo.makepyfile(
        """
        import pytest

        @pytest.mark.pan(max_pan_count=1, max_layer_pan_fraction=1.0)
        class TestNet:
            @pytest.mark.pan(max_pan_count=20)
            def test_a(self): ...
        """
    )
    result = repo.runpytest("--pan-audit")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*PASS pan_count 15 (max 20)*", "*PASS layer_pan_fraction*"])


def test_a_body_that_fails_is_what_is_reported_and_the_verdict_is_kept(
    repo: pytest.Pytester,
) -> None:
    repo.makepyfile(
        """
        import pytest

        @pytest.mark.pan(max_pan_count=1)
        def test_a():
            assert "body" == "wrong"
        """
    )
    result = repo.runpytest("--pan-audit")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*assert 'body' == 'wrong'*", "*FAIL pan_count 15 (max 1)*"])


def test_tests_by_hand_see_the_neurons_and_share_one_audit(repo: pytest.Pytester) -> None:
    repo.makepyfile(
        """
        def test_a(pan_audit):
            assert pan_audit.pan_fraction == 1
            assert not pan_audit.pans(layer="features.*")
            assert [str(n.type) for n in pan_audit.pans(layer="(mod*")][:3] == ["T", "B", "L"]

        def test_b(pan_audit, pan, pan_model, pan_images):
            assert pan(pan_model, pan_images) is pan_audit

        def test_c(pan, pan_model, pan_images):
            strict = pan(pan_model, pan_images, theta=1.0, name="strict")
            assert strict.settings.theta == 1.0
        """
    )
    result = repo.runpytest("--pan-audit")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["Conv2d: 15 PANs*", "strict: 15 PANs*theta 1.0"])


def test_a_parametrised_model_is_audited_by_the_marker_alone(repo: pytest.Pytester) -> None:
    repo.makepyfile(
        """
        import pytest
        from nets import conv, missing

        @pytest.fixture(params=["T", "BL"])
        def pan_model(request):
            return conv(missing(request.param)[None])

        @pytest.mark.pan(max_pan_count=1)
        def test_fixture(): ...

        class TestDirect:
            pytestmark = pytest.mark.pan(max_pan_count=0)

            @pytest.mark.parametrize("pan_model", [conv(missing("R")[None])])
            def test_direct(self): ...
        """
    )
    repo.runpytest("--pan-audit").assert_outcomes(passed=2, failed=1)


def test_another_state_of_the_same_model_is_another_audit(repo: pytest.Pytester) -> None:
    """Otherwise a comparison before and after a change would compare an audit with itself."""
    repo.makepyfile(
        """
        import torch

        def test_a(pan, pan_images):
            net = torch.nn.Conv2d(1, 3, 3, padding=1)
            before = pan(net, pan_images)
            net.weight.data.zero_()[:, :, 1, 1] = 1
            after = pan(net, pan_images)
            assert after is not before and after.pan_count == 0
            net.padding_mode = "reflect"
            assert pan(net, pan_images).sites[0].mode == "reflect"
            images = pan_images.clone()
            first = pan(net, images)
            images += 1
            assert pan(net, images).images["digest"] != first.images["digest"]
        """
    )
    repo.runpytest("--pan-audit").assert_outcomes(passed=1)


def test_zero_and_reflect_padding_of_the_same_weights_are_two_in_the_report(
    repo: pytest.Pytester,
) -> None:
    repo.makepyfile(
        """
        import torch

        def test_a(pan, pan_images):
            zeros = torch.nn.Conv2d(1, 3, 3, padding=1)
            reflect = torch.nn.Conv2d(1, 3, 3, padding=1, padding_mode="reflect")
            reflect.load_state_dict(zeros.state_dict())
            pan(zeros, pan_images), pan(reflect, pan_images)
        """
    )
    repo.runpytest("--pan-audit", "--pan-report=json").assert_outcomes(passed=1)
    audits = json.loads((repo.path / "pan-report.json").read_text())["audits"]
    assert [audit["sites"][0]["mode"] for audit in audits] == ["zeros", "reflect"]


def test_a_marker_added_at_run_time_fails_with_a_way_out(repo: pytest.Pytester) -> None:
    repo.makepyfile(
        """
        import pytest

        @pytest.fixture(autouse=True)
        def late(request):
            request.node.add_marker(pytest.mark.pan(max_pan_count=0))

        def test_a(): ...
        """
    )
    result = repo.runpytest("--pan-audit")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["the marker pan was added after collection: let the test take*"])


def test_the_user_may_give_the_model_per_test(repo: pytest.Pytester) -> None:
    repo.makepyfile(
        """
        import pytest
        from nets import conv, missing

        @pytest.fixture(params=["T", "BL"])
        def pan_model(request):
            return conv(missing(request.param)[None])

        @pytest.mark.pan(max_pan_count=1)
        def test_a(pan_audit, request):
            assert str(pan_audit.neurons[0].type) == request.node.callspec.params["pan_model"]
        """
    )
    repo.runpytest("--pan-audit").assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ("max_pan_fractoin=0.1", "*unknown limit 'max_pan_fractoin'*Did you mean 'max_pan_frac*"),
        ("pan_fraction=0.1", "*unknown limit*Did you mean 'm??_pan_fraction'*"),
        ("max_pan_fraction=3", "*bound of max_pan_fraction, got 3; allowed: a fraction from 0 to*"),
        ("max_pan_count='3'", "*bound of max_pan_count, got '3'; allowed: a number*"),
        ("max_pan_count=True", "*bound of max_pan_count, got True*"),
        ("0.03", "*pan takes keyword arguments only*"),
        ("", "*pan has no limit, so it checks nothing*"),
    ],
)
def test_a_wrong_marker_is_refused_before_any_forward_pass_with_exit_code_4(
    repo: pytest.Pytester, limits: str, message: str
) -> None:
    repo.makeconftest(
        "import pytest\n@pytest.fixture\ndef pan_model(): raise SystemExit('a model was asked for')"
    )
    repo.makepyfile(LIMITED.format(limits=limits))
    result = repo.runpytest("--pan-audit")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


@pytest.mark.parametrize(
    ("fixture", "message"),
    [
        ("pan_model", "pytest-pan has no model: define a fixture pan_model in conftest.py*"),
        ("pan_images", "pytest-pan has no images: define a fixture pan_images*"),
    ],
)
def test_a_missing_fixture_is_an_error_that_says_what_to_provide(
    pytester: pytest.Pytester, fixture: str, message: str
) -> None:
    other = {"pan_images": "pan_model", "pan_model": "pan_images"}[fixture]
    pytester.makeconftest(f"import pytest\n@pytest.fixture\ndef {other}(): return None")
    pytester.makepyfile(LIMITED.format(limits="max_pan_fraction=0.5"))
    result = pytester.runpytest("--pan-audit")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([message])


def test_few_images_warn_and_enough_do_not(repo: pytest.Pytester) -> None:
    from conftest import declare

    repo.makepyfile(LIMITED.format(limits="max_pan_fraction=1.0"))
    repo.runpytest("--pan-audit").assert_outcomes(passed=1, warnings=0)
    declare(repo, images="bright_images(count=49)")
    result = repo.runpytest("--pan-audit", "-W", "default")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(
        ["*PanWarning: Conv2d: only 49 images: with fewer than 50, too many*"]
    )


def test_the_marker_is_registered(repo: pytest.Pytester) -> None:
    repo.makepyfile(LIMITED.format(limits="max_pan_fraction=1.0"))
    repo.runpytest("--strict-markers", "--pan-audit").assert_outcomes(passed=1)
    repo.runpytest("--markers").stdout.fnmatch_lines(["@pytest.mark.pan(max_<measure>=*"])


def test_the_marker_that_a_first_run_suggests_passes_in_the_next_one(repo: pytest.Pytester) -> None:
    declare(repo, images="torch.cat([bright_images(56), striped_images(4)])")
    repo.makepyfile(LIMITED.format(limits=""))
    first = repo.runpytest("--pan-suggest", "--pan-report=json:first.json")
    first.assert_outcomes(passed=1)
    (marker,) = (line for line in first.stdout.lines if "@pytest.mark.pan(" in line)
    assert "max_pan_fraction=" in marker
    assert marker in run("suggest", repo.path / "first.json").stdout.splitlines()
    repo.makepyfile(f"import pytest\n\n{marker.strip()}\ndef test_padding(): ...\n")
    repo.runpytest("--pan-audit").assert_outcomes(passed=1)
    repo.makepyfile(LIMITED.format(limits=""))
    refused = repo.runpytest("--pan-audit")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["*--pan-suggest prints limits to start from*"])
