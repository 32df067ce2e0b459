"""Wrong configuration of every kind: exit code 4, in one line: where, what, what is allowed."""

from __future__ import annotations

import pytest

TEST = """
import pytest

@pytest.mark.pan({})
def test_padding(): ...
"""

NET = """
[tool.pan.models.net]
model = "here:net"
images = "here:images"
limits = {{ max_pan_count = 15 }}
{}
"""

SETTINGS = {
    "theta": "1.5",
    "batch_size": "0",
    "seed": "-1",
    "draws": "101",
    "memory": "0",
    "workers": "-2",
    "probes": "pams",
    "mode": "mirror",
    "task": "guess",
    "device": "tpu",
    "precision": "float64",
    "bad_images": "ignore",
}
"""A wrong value of each setting."""

NOT_ON_THE_COMMAND_LINE = ("task", "memory", "bad_images")


@pytest.fixture
def ready(repo: pytest.Pytester) -> pytest.Pytester:
    repo.makepyfile(TEST.format("max_pan_fraction=1.0"))
    return repo


def refused(result: pytest.RunResult, *words: str) -> None:
    """It ended as wrong usage does, in one line with all these words in their order."""
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.stderr.lines if line]
    assert line.startswith("ERROR: ")
    place = 0
    for word in words:
        assert word in line[place:], (word, line)
        place = line.index(word, place) + len(word)


@pytest.mark.parametrize("name", [name for name in SETTINGS if name not in NOT_ON_THE_COMMAND_LINE])
def test_of_an_option(ready: pytest.Pytester, name: str) -> None:
    flag, value = f"--pan-{name.replace('_', '-')}", SETTINGS[name]
    refused(ready.runpytest("--pan-audit", f"{flag}={value}"), flag, f"'{value}'", "allowed: ")


@pytest.mark.parametrize("name", SETTINGS)
def test_of_the_ini_file(ready: pytest.Pytester, name: str) -> None:
    ready.makeini(f"[pytest]\npan_{name} = {SETTINGS[name]}\n")
    result = ready.runpytest("--pan-audit")
    refused(result, f"pan_{name} in tox.ini", SETTINGS[name], "allowed: ")


@pytest.mark.parametrize("table", ["[tool.pan]", "[tool.pan.models.net]"])
@pytest.mark.parametrize("name", SETTINGS)
def test_of_a_table(ready: pytest.Pytester, name: str, table: str) -> None:
    numbers = ("theta", "batch_size", "seed", "draws", "memory", "workers")
    value = SETTINGS[name] if name in numbers else f"'{SETTINGS[name]}'"
    value = f"[{value}]" if name == "probes" else value
    line = f"{name} = {value}"
    own = table != "[tool.pan]"
    ready.makepyprojecttoml(NET.format(line) if own else f"[tool.pan]\n{line}\n" + NET.format(""))
    result = ready.runpytest("--pan-audit")
    refused(result, f"pyproject.toml {table}: {name}", SETTINGS[name], "allowed: ")


@pytest.mark.parametrize(
    ("ini", "words"),
    [
        ("pan_audit = perhaps", ("pan_audit in tox.ini", "perhaps", "allowed: true, false")),
        ("pan_report = pdf", ("pan_report in tox.ini", "'pdf'", "allowed: html, json")),
        (
            "pan_report = html:x json:x",
            ("pan_report in tox.ini", "json:x", "allowed: "),
        ),
        ("pan_report = markdown-append:$UNSET_OF_OURS", ("pan_report in tox.ini", "UNSET_OF_OURS")),
        ("pan_report = markdown-append", ("pan_report in tox.ini", "markdown-append", "allowed: ")),
        ("pan_report = html:.", ("pan_report in tox.ini", "html:.", "directory", "allowed: ")),
    ],
)
def test_of_what_is_no_setting_in_the_ini_file(
    ready: pytest.Pytester, ini: str, words: tuple[str, ...]
) -> None:
    ready.makeini(f"[pytest]\n{ini}\n")
    refused(ready.runpytest("--pan-audit"), *words)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("pan_audit = 'yes'", ("pyproject.toml", "'pan_audit' expects a bool", "'yes'")),
        ("pan_report = 'json'", ("pyproject.toml", "'pan_report' expects a list", "'json'")),
        ("pan_theta = 'half'", ("pyproject.toml", "'pan_theta' expects a float", "'half'")),
        ("pan_seed = 1.5", ("pyproject.toml", "'pan_seed' expects an int", "1.5")),
        ("pan_mode = 3", ("pyproject.toml", "'pan_mode' expects a string", "3")),
        ("pan_baseline = 3", ("pyproject.toml", "'pan_baseline' expects a string", "3")),
    ],
)
@pytest.mark.skipif(pytest.version_tuple < (9,), reason="new in pytest 9")
def test_of_pytests_native_table(ready: pytest.Pytester, line: str, words: tuple[str, ...]) -> None:
    ready.makepyprojecttoml(f"[tool.pytest]\n{line}\n")
    refused(ready.runpytest("--pan-audit"), *words)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--pan-report=pdf", ("--pan-report=pdf", "'pdf'", "allowed: html, json")),
        ("--pan-report=html:.", ("--pan-report=html:.", "directory", "allowed: ")),
        ("--pan-report=markdown-append", ("--pan-report=markdown-append", "allowed: ")),
        ("--pan-limit=max_pan_count", ("--pan-limit=max_pan_count", "allowed: ")),
        ("--pan-limit=max_pan_count=few", ("--pan-limit", "'few'", "allowed: a number")),
        ("--pan-limit=max_pan_fraction=3", ("--pan-limit", "got 3", "allowed: a fraction")),
        ("--pan-limit=max_pam_count=3", ("--pan-limit", "'max_pam_count'", "allowed: max_<")),
        ("--pan-limit=max_prediction_flips[a]=3", ("--pan-limit", "{'a': 3.0}", "allowed: ")),
        ("pan::nobody", ("pan::nobody", "allowed: ")),
    ],
)
def test_of_what_is_no_setting_on_the_command_line(
    ready: pytest.Pytester, option: str, words: tuple[str, ...]
) -> None:
    refused(ready.runpytest("--pan-audit", option), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("max_pan_count='few'", ("max_pan_count", "'few'", "allowed: a number")),
        ("max_pan_count=None", ("max_pan_count", "None", "allowed: a number")),
        ("max_pan_fraction=3", ("max_pan_fraction", "got 3", "allowed: a fraction")),
        ("max_pam_count=3", ("'max_pam_count'", "got 3", "allowed: max_<measure>")),
        ("max_pan_count={}", ("max_pan_count", "{}", "allowed: ")),
        ("0.03", ("(0.03,)", "allowed: ")),
        ("", ("got none", "allowed: ")),
    ],
)
def test_of_a_marker(ready: pytest.Pytester, arguments: str, words: tuple[str, ...]) -> None:
    ready.makepyfile(test_wrong=TEST.format(arguments))
    result = ready.runpytest("--pan-audit")
    refused(result, "marker of test_wrong.py::test_padding", *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tool.pan", ("pyproject.toml", "Expected")),
        ("[tool]\npan = 3", ("pyproject.toml [tool.pan]", "got 3", "allowed: a table")),
        ("[tool.pan]\nthete = 0.5", ("[tool.pan]", "'thete'", "0.5", "allowed: ", "'theta'")),
        ("[tool.pan]\nlimits = 3", ("[tool.pan]: limits", "got 3", "allowed: a table")),
        ("[tool.pan]\nlimits = {max_pan_count=-1}", ("[tool.pan]", "max_pan_count", "-1", "allow")),
        ("[tool.pan]\nmodels = []", ("[tool.pan]: models", "got []", "allowed: tables")),
        ("[tool.pan]\nbaseline = []", ("[tool.pan]: baseline", "got []", "allowed: a directory")),
        (NET.format("theta = '1'"), ("[tool.pan.models.net]: theta", "'1'", "allowed: ")),
        (NET.format("transform = 3"), ("models.net]: transform", "got 3", "allowed: ")),
        (NET.format("arguments = 3"), ("models.net]: arguments", "got 3", "allowed: ")),
        (NET.format("").replace("here:net", "here"), ("models.net]: model", "'here'", "allowed: ")),
        (NET.format("").replace('"here:images"', "3"), ("images", "got 3", "allowed: ")),
        ("[tool.pan.models.net]\nimages = 'a:b'", ("models.net]: no model", "Write model = ")),
    ],
)
def test_of_pyproject_toml(ready: pytest.Pytester, text: str, words: tuple[str, ...]) -> None:
    ready.makeini("[pytest]\n")
    ready.makepyprojecttoml(text)
    refused(ready.runpytest("--pan-audit"), *words)


def test_a_setting_in_two_places(ready: pytest.Pytester) -> None:
    ready.makeini("[pytest]\npan_baseline = a\n")
    ready.makepyprojecttoml("[tool.pan]\nbaseline = 'b'\n")
    result = ready.runpytest("--pan-audit")
    refused(result, "pan_baseline in tox.ini", "'a'", "pyproject.toml [tool.pan]", "'b'", "allowed")


@pytest.mark.parametrize("workers", ["0", "2"])
def test_it_is_said_too_where_the_audit_is_off_and_a_test_asks_for_one(
    repo: pytest.Pytester, workers: str
) -> None:
    repo.makepyfile(TEST)
    repo.makeini("[pytest]\npan_inconclusive = perhaps\n")
    result = repo.runpytest("-n", workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stdout.str() + result.stderr.str()
    assert "pan_inconclusive" in text
    assert "'perhaps'; allowed: fail, warn, pass" in text
