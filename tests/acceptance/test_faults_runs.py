"""Runs that were broken off, only shown, or failed for reasons of their own."""

from __future__ import annotations

import pytest
from conftest import COUNTED, declare


def made(repo: pytest.Pytester) -> set[str]:
    """Return the names of the audits made."""
    return set((repo.path / "made.txt").read_text().split())


OUTCOMES = {
    "skip": 'pytest.skip("no GPU")',
    "xfail": 'pytest.xfail("known")',
    "fail": 'pytest.fail("by hand")',
    "import": 'pytest.importorskip("no_such_module")',
}
"""Calls that raise an exception by which a test reports its outcome."""

MARKED = """
import pytest

@pytest.mark.pan(max_pan_fraction=1)
def test_net(): ...
"""

DECLARED = """
[tool.pan.models.net]
model = "here:net"
images = "here:images"
limits = { max_pan_fraction = 1, max_pan_count = 15 }
"""


def breaking(call: str, where: str) -> str:
    """Return a module with a model and images, one of which makes the call."""
    model, images = (f"{call}; " if where == part else "" for part in ("model", "images"))
    return f"""
import pytest, torch
from nets import bright_images, fifteen_types

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = fifteen_types()
    def forward(self, x):
        {model}return self.conv(x)

class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 60
    def __getitem__(self, index):
        {images}return bright_images(count=1, size=10)[0]

def net(): return Net()
def images(): return Data()
"""


@pytest.mark.parametrize("where", ["model", "images"])
@pytest.mark.parametrize("call", OUTCOMES.values(), ids=OUTCOMES)
def test_an_audit_that_is_broken_off_fails_its_test(
    repo: pytest.Pytester, call: str, where: str
) -> None:
    declare(repo, "__import__('here').Net()", "__import__('here').Data()")
    repo.makepyfile(here=breaking(call, where), test_net=MARKED)
    result = repo.runpytest("--pan-audit", "-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ['*the audit was broken off: pytest.*("*") was called in the model*']
    )
    result.stdout.fnmatch_lines(["PARTIAL: tests failed without a verdict*", "audits: 0 of 1*"])


@pytest.mark.parametrize("where", ["model", "images"])
def test_an_exit_in_an_audit_does_not_end_the_run_with_success(
    repo: pytest.Pytester, where: str
) -> None:
    declare(repo, "__import__('here').Net()", "__import__('here').Data()")
    repo.makepyfile(here=breaking('pytest.exit("enough", 0)', where), test_net=MARKED)
    result = repo.runpytest("--pan-audit", "-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*enough*"])


@pytest.mark.parametrize("limit", ["model", "loader"])
def test_a_declared_model_broken_off_fails_all_its_limits(
    repo: pytest.Pytester, limit: str
) -> None:
    text = breaking(OUTCOMES["skip"], "model")
    if limit == "loader":
        text = text.replace("def images(): ", f"def images(): {OUTCOMES['skip']}; ")
    repo.makepyfile(here=text)
    repo.makepyprojecttoml(DECLARED)
    result = repo.runpytest("--pan-audit")
    result.assert_outcomes(errors=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ['net: the audit was broken off: pytest.skip("no GPU") was called*']
    )


def test_the_failure_of_a_declared_model_is_made_once(repo: pytest.Pytester) -> None:
    call = "__import__('tempfile').mkdtemp(suffix='.call', dir='.'); pytest.skip('no')"
    repo.makepyfile(here=breaking(call, "model"))
    repo.makepyprojecttoml(DECLARED)
    repo.runpytest("--pan-audit", "pan::net::max_pan_count").assert_outcomes(errors=1)
    calls = len(list(repo.path.glob("*.call")))
    repo.runpytest("--pan-audit").assert_outcomes(errors=2)
    assert len(list(repo.path.glob("*.call"))) == 2 * calls > 0


EXIT = """
import pytest

@pytest.mark.pan(max_pan_fraction={limit})
def test_a(): ...

def test_b():
    {more}

@pytest.mark.pan(max_pan_fraction=1)
def test_c(): ...
"""


@pytest.mark.parametrize(
    ("limit", "more"),
    [("0.03", 'pytest.exit("x", 0)'), ("1", 'pytest.exit("x", returncode=0)')],
    ids=["a limit failed", "an audit is missing"],
)
def test_exit_with_status_0_cannot_hide_a_failure(
    repo: pytest.Pytester, limit: str, more: str
) -> None:
    repo.makepyfile(EXIT.format(limit=limit, more=more))
    result = repo.runpytest("--pan-audit")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["PARTIAL: the run was ended by pytest.exit: x", "audits: 1 of 2*"])


def test_exit_with_status_0_after_all_audits_is_a_success(repo: pytest.Pytester) -> None:
    text = EXIT.format(limit="1", more="...").replace("def test_c(): ...", "def test_c(): ...\n")
    repo.makepyfile(text + '\ndef test_d():\n    pytest.exit("x", 0)\n')
    assert repo.runpytest("--pan-audit").ret == pytest.ExitCode.OK


def test_exit_at_the_end_of_the_session_cannot_hide_a_failure(repo: pytest.Pytester) -> None:
    repo.makepyfile(EXIT.format(limit="0.03", more="..."))
    conftest = repo.path / "conftest.py"
    hook = '\ndef pytest_sessionfinish(session):\n    pytest.exit("x", 0)\n'
    conftest.write_text(conftest.read_text() + hook)
    assert repo.runpytest("--pan-audit").ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("option", ["--setup-plan", "--setup-only", "--collect-only"])
def test_a_run_that_only_shows_tests_makes_no_audit_of_a_declared_model(
    repo: pytest.Pytester, option: str
) -> None:
    repo.makepyfile(here=breaking("", ""))
    repo.makepyprojecttoml(DECLARED)
    repo.makeconftest(COUNTED)
    result = repo.runpytest(
        "--pan-audit", option, "--pan-report=json", "--pan-baseline=b", "--pan-update-baseline"
    )
    assert result.ret == pytest.ExitCode.OK
    assert "padding audit" not in result.stdout.str()
    left = {path.name for path in repo.path.iterdir()}
    assert not left & {"made.txt", "pan-report.json", "b"}


OWN = {
    "by its own assertion": "def test_net(pan_audit):\n    assert pan_audit.pan_fraction < 0.03",
    "by the factory": "def test_net(pan, pan_model, pan_images):\n"
    "    assert pan(pan_model, pan_images).pan_count == 0",
    "XPASS(strict)": "@pytest.mark.xfail(strict=True)\n@pytest.mark.pan(max_pan_fraction=1)\n"
    "def test_net(): ...",
    "in its teardown": "@pytest.fixture\ndef late():\n    yield\n    raise OSError\n\n"
    "def test_net(pan_audit, late): ...",
    "after its limit": "@pytest.mark.pan(max_pan_fraction=1)\ndef test_net():\n    1 / 0",
}


@pytest.mark.parametrize("body", OWN.values(), ids=OWN)
def test_a_test_that_had_its_audit_and_failed_by_itself_leaves_the_run_complete(
    repo: pytest.Pytester, body: str
) -> None:
    repo.makepyfile("import pytest\n\n" + body)
    result = repo.runpytest("--pan-audit")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.no_fnmatch_line("*PARTIAL*")
    result.stdout.fnmatch_lines(["audits: 1 of 1 expected*"])


UNDONE = {
    "before its audit": "def test_net(pan, pan_model):\n    assert False",
    "in its setup": "@pytest.fixture\ndef broken(pan_audit):\n    raise OSError\n\n"
    "@pytest.mark.pan(max_pan_fraction=1)\ndef test_net(broken): ...",
    "at its second audit": "def test_net(pan, pan_model, pan_images):\n"
    "    pan(pan_model, pan_images)\n    pan(pan_model, 'no/such/folder')",
}


@pytest.mark.parametrize("body", UNDONE.values(), ids=UNDONE)
def test_a_test_that_failed_before_its_audit_or_limits_leaves_the_run_partial(
    repo: pytest.Pytester, body: str
) -> None:
    repo.makepyfile("import pytest\n\n" + body)
    result = repo.runpytest("--pan-audit")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["PARTIAL: tests failed without a verdict on a limit: *test_net"])


PARAMETRISED = """
import pytest
from nets import bright_images, conv, fifteen_types, missing

@pytest.fixture(scope="session"{model})
def pan_model(request):
    return {{"all": fifteen_types, "one": lambda: conv(missing("T")[None])}}[request.param]()

@pytest.fixture(scope="session"{images})
def pan_images(request):
    return bright_images(count=60, size=getattr(request, "param", 10))
"""

PARAMS = ', params=["all", "one"]'


@pytest.mark.parametrize(
    ("model", "images", "test", "names"),
    [
        (PARAMS, "", "", ["Conv2d[all]", "Conv2d[one]"]),
        (PARAMS + ', ids=["x-1", "x-2"]', "", "", ["Conv2d[x-1]", "Conv2d[x-2]"]),
        (
            PARAMS,
            ', params=[9, 10], ids=["small", "large"]',
            "",
            [f"Conv2d[{m}-{i}]" for m in ("all", "one") for i in ("small", "large")],
        ),
        (PARAMS, "", '@pytest.mark.parametrize("k", [3, 4])', ["Conv2d[all]", "Conv2d[one]"]),
        (
            "",
            "",
            '@pytest.mark.parametrize("pan_model", ["all", "one"], indirect=True)',
            ["Conv2d[all]", "Conv2d[one]"],
        ),
    ],
    ids=["model", "ids", "model and images", "another parameter", "indirect"],
)
def test_audits_of_a_parametrised_fixture_are_named_after_the_parameters(
    repo: pytest.Pytester, model: str, images: str, test: str, names: list[str]
) -> None:
    repo.makeconftest(PARAMETRISED.format(model=model, images=images) + COUNTED)
    argument = "k" if '"k"' in test else ""
    marker = "@pytest.mark.pan(max_pan_fraction=1)"
    repo.makepyfile(f"import pytest\n\n{test}\n{marker}\ndef test_net({argument}): ...")
    repo.runpytest("--pan-audit")
    assert made(repo) == set(names)


def test_the_parameter_of_a_fixture_that_the_model_depends_on_names_the_audit(
    repo: pytest.Pytester,
) -> None:
    repo.makeconftest(
        PARAMETRISED.format(model="", images="")
        .replace("pan_model(request)", "pan_model(arch)")
        .replace("request.param]", "arch]")
        + '\n@pytest.fixture(scope="session", params=["all", "one"])\n'
        "def arch(request):\n    return request.param\n" + COUNTED
    )
    repo.makepyfile("def test_net(pan, pan_model, pan_images):\n    pan(pan_model, pan_images)")
    repo.runpytest("--pan-audit").assert_outcomes(passed=2)
    assert made(repo) == {"Conv2d[all]", "Conv2d[one]"}


def test_a_model_that_is_a_parameter_itself_is_named_after_it(repo: pytest.Pytester) -> None:
    repo.makepyfile("""
        import pytest
        import torch

        @pytest.mark.parametrize(
            "model", [torch.nn.Conv2d(1, 2, 3, padding=1) for _ in range(2)], ids=["a", "b"]
        )
        @pytest.mark.parametrize("size", [1])
        def test_net(pan, model, size):
            audit = pan(model, torch.rand(60, 1, 8, 8))
            print("audited", audit.model["name"])
    """)
    result = repo.runpytest("--pan-audit", "-s")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*audited Conv2d[[]a]*", "*audited Conv2d[[]b]*"])


def test_a_given_name_wins_over_the_parameters(repo: pytest.Pytester) -> None:
    repo.makeconftest(
        PARAMETRISED.format(model=PARAMS, images="")
        + '\n@pytest.fixture(scope="session")\ndef pan_name():\n    return "mine"\n'
        + COUNTED
    )
    repo.makepyfile(
        """
        def test_net(pan_audit): ...
        def test_own(pan, pan_model, pan_images):
            pan(pan_model, pan_images, name="own")
        def test_other(pan, pan_model, pan_images):
            from nets import fifteen_types
            pan(fifteen_types(), pan_images)
        """
    )
    repo.runpytest("--pan-audit").assert_outcomes(passed=6)
    assert made(repo) == {"mine", "own", "Conv2d"}
