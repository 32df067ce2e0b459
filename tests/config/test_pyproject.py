"""What ``[tool.pan]`` and ``--pan-limit`` say, and what they cannot say."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_pan import ConfigError
from pytest_pan.config.pyproject import Declared, command_line_limits, read
from pytest_pan.records.limits import Limit

NET = '[tool.pan.models.net]\nmodel = "nets:fifteen_types"\nimages = "a"\n'
LIMITED = NET + "limits = { max_pan_count = 3 }\n"


def written(folder: Path, toml: str, *command_line: str) -> Declared:
    file = folder / "pyproject.toml"
    file.write_text(toml)
    return read(file, command_line)


def bounds(limits: tuple[Limit, ...]) -> dict[str, float]:
    return {limit.keyword: limit.bound for limit in limits}


def test_a_file_that_is_not_there_or_speaks_of_others_declares_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "pyproject.toml") == Declared()
    assert written(tmp_path, "[tool.pandas]\nmodels = 3\n") == Declared()


def test_a_model_is_read_with_all_that_it_declares(tmp_path: Path) -> None:
    found = written(
        tmp_path,
        """
        [tool.pan]
        theta = 0.25
        [tool.pan.models."the net"]
        model = "nets:conv"
        arguments = { kernel = 3, deep = { er = [1] } }
        images = "some/folder"
        transform = "nets:Transforms.small"
        classes = "nets:CLASSES"
        batch_size = 4
        probes = ["influence"]
        workers = "auto"
        limits = { max_pan_fraction = { "features.1.*" = 0.2, "*" = 0.05 }, min_pan_count = 1 }
        """,
    )
    (model,) = found.models
    assert found.settings == {"theta": 0.25}
    assert (model.name, model.model, model.images) == ("the net", "nets:conv", "some/folder")
    assert model.arguments == {"kernel": 3, "deep": {"er": [1]}}
    assert (model.transform, model.outputs, model.classes) == (
        "nets:Transforms.small",
        "",
        "nets:CLASSES",
    )
    probes = ("pans", "influence", "uneven", "foveation")
    assert model.settings == {"batch_size": 4, "probes": probes, "workers": None}
    assert model.line == 3
    assert bounds(model.limits) == {
        "max_pan_fraction[features.1.*]": 0.2,
        "max_pan_fraction[*]": 0.05,
        "min_pan_count": 1,
    }
    assert model.limits[1].earlier == ("features.1.*",)


def test_the_command_line_wins_over_the_model_and_the_model_over_the_file(tmp_path: Path) -> None:
    found = written(
        tmp_path,
        "[tool.pan]\nlimits = { max_pan_count = 1, max_pan_fraction = 0.1, max_pan_floor = 0.2 }\n"
        + NET
        + "limits = { max_pan_count = 3, max_pan_fraction = { a = 0.3, b = 0.4 } }\n",
        "max_pan_count=7",
    )
    assert bounds(found.global_limits) == {
        "max_pan_count": 7,
        "max_pan_fraction": 0.1,
        "max_pan_floor": 0.2,
    }
    limits = found.limits_of(found.models[0])
    assert bounds(limits) == {
        "max_pan_count": 7,
        "max_pan_fraction[a]": 0.3,
        "max_pan_fraction[b]": 0.4,
        "max_pan_fraction": 0.1,  # of the whole, which a table of parts leaves alone
        "max_pan_floor": 0.2,
    }
    assert [limit.origin for limit in limits] == [
        "--pan-limit",
        "pyproject.toml [tool.pan.models.net]",
        "pyproject.toml [tool.pan.models.net]",
        "pyproject.toml [tool.pan]",
        "pyproject.toml [tool.pan]",
    ]


def test_on_the_command_line_parts_add_up_and_the_last_of_two_counts() -> None:
    limits = command_line_limits(
        [
            "max_pan_fraction=0.5",
            "max_pan_fraction[a=b]=0.2",
            "max_pan_fraction=0.03",
            "max_pan_fraction[*]=1e-1",
            "max_log_odds_shift[tench]=0.05",
        ]
    )
    assert bounds(limits) == {
        "max_pan_fraction": 0.03,
        "max_pan_fraction[a=b]": 0.2,
        "max_pan_fraction[*]": 0.1,
        "max_log_odds_shift[tench]": 0.05,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_pan_fraction", "--pan-limit=max_pan_fraction: limit, got 'max_pan_fraction'; allow"),
        ("=3", "--pan-limit==3: limit, got '=3'"),
        ("max_pan_fraction=much", "bound of max_pan_fraction, got 'much'; allowed: a number"),
        ("max_pan_fraction=", "got ''; allowed: a number"),
        ("max_pan_fraction=nan", "got nan; allowed: a fraction from 0 to 1"),
        ("max_pan_fractoin=0.1", "unknown limit 'max_pan_fractoin'"),
        ("max_pan_fraction[]=0.1", r"unknown limit 'max_pan_fraction[]'"),
        ("max_prediction_flips[a]=1", "bounds by class or layer of max_prediction_flips"),
    ],
)
def test_a_wrong_limit_on_the_command_line_is_named_as_it_was_written(
    text: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        command_line_limits(["max_pan_count=3", text])
    assert str(caught.value).startswith(f"--pan-limit={text}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[tool.pan\n", "pyproject.toml: invalid TOML: Expected ']'"),
        ("tool.pan = 3", "pyproject.toml [tool.pan]: pan, got 3; allowed: a table"),
        ("[tool.pan]\nlimit = 3", "[tool.pan]: unknown key 'limit', got 3; allowed: limits, mode"),
        ("[tool.pan]\nlimit = 3", "Did you mean 'limits'?"),
        ("[tool.pan]\nbatch-size = 3", "Did you mean 'batch_size'?"),
        ("[tool.pan]\nlimits = 0.3", "limits, got 0.3; allowed: a table, such as { max_pan_fra"),
        ("[tool.pan]\nlimits = { max_pans = 0.3 }", "unknown limit 'max_pans', got 0.3; allowed:"),
        ("[tool.pan]\nlimits = { max_pan_fraction = 3 }", "got 3; allowed: a fraction from 0 to 1"),
        ("[tool.pan]\nlimits.max_pan_fraction.features.1 = 0.1", "Quote names that contain dots."),
        ("[tool.pan]\nmode = 'zeros'", "mode, got 'zeros'; allowed: reflect, symmetric, replica"),
        ("[tool.pan]\ndraws = 101", "draws, got 101; allowed: a whole number from 0 to 100"),
        ("[tool.pan]\ntheta = '0.5'", "[tool.pan]: theta, got '0.5'; allowed: above 0, up to 1"),
        ("[tool.pan]\nseed = true", "seed, got True; allowed: a whole number from 0"),
        ("[tool.pan]\ndevice = 0", "device, got 0; allowed: auto, cpu, cuda, cuda:N"),
        ("[tool.pan]\nprobes = 'all'", "probes, got 'all'; allowed: a list of pans, influence, i"),
        ("[tool.pan]\nprobes = [1]", "probes, got [1]; allowed: a list of pans, influence, intr"),
        ("[tool.pan]\nmodels = ['net']", "models, got ['net']; allowed: tables [tool.pan.models.N"),
        ("[tool.pan.models]\nnet = 3", "[tool.pan.models.net]: model, got 3; allowed: a table"),
        ("[tool.pan.models.net]", "pyproject.toml [tool.pan.models.net]: no model. Write model ="),
        ("[tool.pan.models.net]\nmodel = 'a:b'", "[tool.pan.models.net]: no images. Write images"),
        (NET, "[tool.pan.models.net]: no limit, so nothing would be checked. Write limits = { max"),
        (LIMITED + "classes = 3", "classes, got 3; allowed: 'module:attribute'"),
        (LIMITED + "transform = 'a.b'", "transform, got 'a.b'; allowed: 'module:attribute'"),
        (LIMITED + "arguments = ['x']", "arguments, got ['x']; allowed: a table of the callable's"),
        (LIMITED + "argument = 1", "unknown key 'argument', got 1; allowed: model, arguments, im"),
        (LIMITED + "batch_size = 0", "net]: batch_size, got 0; allowed: a whole number from 1"),
        (NET.replace('"a"', "[]"), "images, got []; allowed: a folder, or 'module:callable'"),
        (NET.replace("nets:fifteen_types", "net.py"), "model, got 'net.py'; allowed: 'module:cal"),
        (
            '[tool.pan.models."a::b"]',
            "model name, got 'a::b'; allowed: printable text without '::'",
        ),
    ],
)
def test_a_wrong_file_is_refused_in_one_line_with_file_key_value_and_what_is_allowed(
    tmp_path: Path, toml: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        written(tmp_path, toml)
    assert message in str(caught.value)
    assert str(caught.value).startswith("pyproject.toml")
    assert "\n" not in str(caught.value)
