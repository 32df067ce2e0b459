"""Baseline files: what stands in them, how they are named, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from build import make_audit, make_control
from hypothesis import given
from hypothesis import strategies as st

from pytest_pan import ConfigError
from pytest_pan.records.audit import Audit, Settings
from pytest_pan.records.measures import Measured
from pytest_pan.verdicts import baselines as baseline


def with_value(audit: Audit, measure: str, value: float, **more: Any) -> Audit:
    measured = Measured(measure=measure, value=value, **more)
    return replace(audit, measures={**audit.measures, measure: measured})


def stored(folder: Path, body: Any, name: str = "net.json") -> Path:
    folder.mkdir(exist_ok=True)
    text = body if isinstance(body, str) else baseline.text_of(body)
    (folder / name).write_text(text)
    return folder


def read(folder: Path) -> baseline.Baselines:
    return baseline.read(folder, shown="bases", where="--pan-baseline")


def test_every_line_of_a_file_holds_one_figure_at_most_and_the_keys_are_sorted() -> None:
    body = baseline.body_of(with_value(make_audit("net"), "pan_floor", 0.5, bounds=(0.25, 0.75)))
    text = baseline.text_of(body)
    outside = re.sub(r'"(?:[^"\\]|\\.)*"', "", text)
    assert max(len(re.findall(r"[\d.]+", line)) for line in outside.splitlines()) == 1
    pairs = json.loads(text, object_pairs_hook=lambda found: [key for key, _ in found])
    assert pairs == sorted(pairs)


def test_a_file_holds_no_times_no_paths_and_nothing_that_workers_or_devices_decide() -> None:
    audit = make_audit("net", settings=Settings(device="cuda:3", workers=8))
    text = baseline.text_of(baseline.body_of(audit))
    other = replace(
        audit,
        seconds={"load": 99.0},
        images={**audit.images, "source": "elsewhere"},
        settings=Settings(device="cuda:0", workers=2),
        notes=("few images",),
    )
    assert baseline.text_of(baseline.body_of(other)) == text
    assert "elsewhere" not in text


def test_what_differs_beyond_six_digits_is_the_same_file() -> None:
    def text(value: float) -> str:
        return baseline.text_of(baseline.body_of(with_value(make_audit(), "pan_floor", value)))

    assert text(0.1234561) == text(0.1234562)
    assert text(0.123456) != text(0.123457)
    assert '"value": 1234567\n' in text(1234567.0)
    assert '"value": null\n' in text(float("nan"))


def test_a_file_reads_back_as_it_was_written(tmp_path: Path) -> None:
    audit = replace(make_audit("né t"), measures={"log_odds_shift": make_control(draws=(0.1, 0.2))})
    body = baseline.body_of(audit)
    folder = stored(tmp_path / "bases", body)
    assert read(folder).bodies["né t"] == json.loads(json.dumps(body))


@given(st.text(max_size=80))
def test_any_name_makes_a_file_name_that_every_file_system_takes(name: str) -> None:
    found = baseline.file_name(name)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,90}\.json", found)
    assert found.partition(".")[0].lower() not in {"con", "prn", "aux", "nul", "com1", "lpt9"}


@given(st.sets(st.sampled_from(["Net", "net", "NET", "n/et", "n-et", "n et", "net.", ".net", ""])))
def test_different_names_never_share_a_file_not_even_where_case_does_not_count(
    names: set[str],
) -> None:
    assert len({baseline.file_name(name).lower() for name in names}) == len(names)


def test_a_plain_name_is_the_file_s_name() -> None:
    assert baseline.file_name("mobilenet_v2") == "mobilenet_v2.json"
    assert baseline.file_name("resnet18.a1-in1k") == "resnet18.a1-in1k.json"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("not json", ("invalid JSON", "delete it")),
        ("<<<<<<< HEAD\n{}", ("invalid JSON",)),
        ("[]", ("schema, got None", "'pytest-pan-baseline/1'")),
        ({"schema": "pytest-pan-baseline/2"}, ("got 'pytest-pan-baseline/2'", "Another version")),
        ({"measures": []}, ("measures, got []", "an object")),
        ({"model": {"name": 3}}, ("model.name, got 3", "a string")),
        (
            {"measures": {"pan_count": {"value": "many"}}},
            ("measures.pan_count.value, got 'many'", "a number or null"),
        ),
        (
            {"measures": {"pan_count": {"value": 1, "sites": {"a.b": True}}}},
            ("measures.pan_count.sites.a.b, got True",),
        ),
        ({"measures": {"pan_count": {"value": 1, "classes": 3}}}, ("measures.pan_count.classes",)),
        ({"measures": {"pan_count": {"value": 10**400}}}, ("measures.pan_count.value, got 1000",)),
        ({"settings": {"probes": None}}, ("settings.probes, got None", "a list of strings")),
        ('{"schema": "pytest-pan-baseline/1", "measures": NaN}', ("model, got None",)),
    ],
)
def test_a_file_that_is_no_baseline_is_refused_by_file_key_value_and_what_is_allowed(
    tmp_path: Path, change: Any, words: tuple[str, ...]
) -> None:
    body = change if isinstance(change, str) else baseline.body_of(make_audit("net")) | change
    folder = stored(tmp_path / "bases", body)
    with pytest.raises(ConfigError) as raised:
        read(folder)
    message = str(raised.value)
    assert message.startswith("--pan-baseline: bases/net.json: ")
    assert all(word in message for word in words)
    assert "\n" not in message


def test_two_files_of_one_model_are_refused_and_a_renamed_one_keeps_its_name(
    tmp_path: Path,
) -> None:
    body = baseline.body_of(make_audit("net"))
    folder = stored(tmp_path / "bases", body, "mine.json")
    found = read(folder)
    assert baseline.write(found, "net", {**body, "model": {"name": "net"}}) == "updated"
    assert [path.name for path in folder.iterdir()] == ["mine.json"]
    stored(folder, body, "net.json")
    with pytest.raises(
        ConfigError, match=r"net.json: model.name, got 'net', which mine.json also has"
    ):
        read(folder)


def test_a_new_model_never_takes_the_file_that_another_s_was_renamed_to(tmp_path: Path) -> None:
    folder = stored(tmp_path / "bases", baseline.body_of(make_audit("alpha")), "beta.json")
    before = (folder / "beta.json").read_bytes()
    assert baseline.write(read(folder), "beta", baseline.body_of(make_audit("beta"))) == "written"
    assert (folder / "beta.json").read_bytes() == before
    assert sorted(read(folder).bodies) == ["alpha", "beta"]


def test_which_of_several_gpus_it_was_is_not_in_the_file() -> None:
    def on(device: str) -> Audit:
        audit = make_audit("net")
        return replace(audit, environment={**audit.environment, "device": device})

    first, second = (baseline.body_of(on(f"cuda:{n} (NVIDIA H100)")) for n in (0, 1))
    assert first == second
    assert first != baseline.body_of(on("cuda:0 (Tesla T4)"))


def test_what_a_killed_process_left_half_written_is_no_baseline(tmp_path: Path) -> None:
    folder = stored(tmp_path / "bases", baseline.body_of(make_audit("net")))
    (folder / ".net.json.123.tmp").write_text("{")
    (folder / ".hidden.json").write_text("{")
    assert list(read(folder).bodies) == ["net"]


def narrow(audit: Audit) -> dict[str, Any]:
    return baseline.body_of(replace(audit, settings=Settings(probes=("pans",))))


def test_a_run_that_only_looked_for_pans_keeps_the_odds_of_the_same_weights() -> None:
    audit = make_audit("net", settings=Settings(probes=("pans", "influence")))
    full = baseline.body_of(with_value(audit, "log_odds_shift", 0.25, classes={"tench": 0.125}))
    whole, lost = baseline.merge(full, narrow(audit))
    assert not lost
    assert whole == full


def test_it_never_drops_them_nor_mixes_them_with_other_weights() -> None:
    audit = make_audit("net", settings=Settings(probes=("pans", "influence")))
    full = baseline.body_of(with_value(audit, "log_odds_shift", 0.25))
    trained = replace(audit, model={**audit.model, "digest": "another"})
    assert baseline.merge(full, narrow(trained))[1] == ("log_odds_shift",)
    other = replace(audit, environment={**audit.environment, "torch": "9"})
    assert baseline.merge(full, narrow(other))[1] == ("log_odds_shift",)
