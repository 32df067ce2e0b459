"""Entries on disk: what comes back is what was kept, or nothing."""

from __future__ import annotations

import io
import json
import math
import os
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from build import make_audit, make_influence

from pytest_pan import AuditError, InputError
from pytest_pan.cache import store as cache
from pytest_pan.cache.store import Cache
from pytest_pan.probes.influence.records import InfluenceFindings
from pytest_pan.records.audit import Audit


@pytest.fixture
def kept(tmp_path: Path) -> Cache:
    there = Cache(folder=tmp_path / "pan", run="first")
    there.keep("stem", "images", make_audit())
    return there


def path(of: Cache) -> Path:
    return of.folder / "stem" / "images.npz"


def text(audit: Audit) -> str:
    return json.dumps(audit.to_json())


def test_an_audit_comes_back_to_the_last_bit_undefined_numbers_and_all(tmp_path: Path) -> None:
    odd = (0.1 + 0.2, 5e-324, -0.0, float("nan"), float("inf"), *map(math.sqrt, range(20)))
    made = make_audit()
    made = replace(
        made,
        measures={
            **made.measures,
            "pan_fraction": replace(made.measures["pan_fraction"], value=odd[3]),
        },
        images={**made.images, "source": "caf\udce9/\u2028"},
        findings={"influence": InfluenceFindings((make_influence(log_odds=odd),))},
        classes=("$floats", "", "a"),
        model={**made.model, "big": [2**70] * 20, "small": list(range(40)), "$floats": [[1, 2]]},
    )
    there = Cache(folder=tmp_path, run="run")
    there.keep("stem", "images", made)
    found = there.find("stem", "images")
    assert found is not None
    assert text(found) == text(made)


def test_what_this_run_has_made_is_not_called_cached(kept: Cache) -> None:
    mine, later = kept.find("stem", "images"), replace(kept, run="second").find("stem", "images")
    assert mine is not None
    assert later is not None
    assert (mine.cached, later.cached) == (False, True)
    assert text(replace(later, cached=False)) == text(mine)


def test_an_entry_is_arrays_of_numbers_and_json(kept: Cache) -> None:
    with np.load(path(kept), allow_pickle=False) as arrays:
        kinds = {name: arrays[name].dtype for name in arrays}
        document = json.loads(arrays["json"].tobytes())
    assert kinds == {"json": np.uint8, "floats": np.float64, "integers": np.int64}
    assert document["audit"]["model"]["name"] == make_audit().model["name"]


def shorter(data: bytes) -> bytes:
    return data[: len(data) // 2]


def one_bit(data: bytes) -> bytes:
    middle = data.index(b"json.npy") + len("json.npy") + 60
    return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]


def a_pickle(data: bytes) -> bytes:
    file = io.BytesIO()
    np.savez(
        file, json=np.array([{"a": 1}], dtype=object), floats=np.zeros(1), integers=np.zeros(1)
    )
    return file.getvalue()


def another_format(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    assert b'[1, "stem"' in parts["json.npy"]
    parts["json.npy"] = parts["json.npy"].replace(b'[1, "stem"', b'[9, "stem"')
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return file.getvalue()


@pytest.mark.parametrize(
    "spoil", [shorter, one_bit, a_pickle, another_format, lambda data: b"", lambda data: b"text"]
)
def test_an_entry_that_is_not_whole_is_discarded_and_that_is_said(
    kept: Cache, spoil: object
) -> None:
    data = path(kept).read_bytes()
    path(kept).write_bytes(spoil(data))  # type: ignore[operator]
    assert kept.find("stem", "images") is None
    (trouble,) = kept.troubles
    assert "images.npz in the cache cannot be read (" in trouble
    assert "the audit ran again" in trouble
    assert not path(kept).exists()


def test_an_entry_under_the_name_of_another_is_not_believed(kept: Cache) -> None:
    path(kept).rename(path(kept).with_stem("others"))
    assert kept.find("stem", "others") is None
    assert "an entry of something else" in kept.troubles[0]


def test_where_there_is_none_nothing_is_said(kept: Cache) -> None:
    assert kept.find("stem", "other") is None
    assert kept.find("other", "images") is None
    assert kept.names("other") == frozenset()
    assert kept.troubles == []


def test_a_place_that_cannot_be_written_to_costs_a_word_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    there = Cache(folder=tmp_path / "file", run="run")
    with there.turn("stem"):
        there.keep("stem", "images", make_audit())
        there.note_failure("stem", failed())
    assert ["the audit is not cached" in trouble for trouble in there.troubles] == [True]
    there.prune(0)


def test_the_entries_used_last_are_kept_and_leftovers_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MOST", 3)
    there = Cache(folder=tmp_path, run="run")
    for number in range(3):
        there.keep(f"stem{number}", "images", make_audit())
        os.utime(tmp_path / f"stem{number}" / "images.npz", (number, number))
    with there.turn("stem1"):
        pass
    assert there.find("stem0", "images") is not None  # now the last used
    leftover = tmp_path / "stem2" / ".images.npz.1.tmp"
    leftover.touch()
    os.utime(leftover, (0, 0))
    there.keep("stem3", "images", make_audit())
    with there.turn("stem4"):
        there.note_failure("stem5", failed())
        there.prune(time.time() - 60)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == [
        *("stem0", "stem2", "stem3", "stem4")  # somebody was at the last
    ]
    assert not leftover.exists()
    there.prune(time.time() - 60)
    assert not (tmp_path / "stem4").exists()


def test_what_a_run_has_used_is_kept_however_much_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the last used alone, a run of one more would find none of its own: each would go just
    before it is asked for.
    """
    monkeypatch.setattr(cache, "MOST", 3)
    there = Cache(folder=tmp_path, run="run")
    for number in range(5):
        there.keep(f"stem{number}", "images", make_audit())
        os.utime(tmp_path / f"stem{number}" / "images.npz", (number, number))
    for number in range(4):
        assert there.find(f"stem{number}", "images") is not None
    there.prune(time.time() - 60)
    assert sorted(folder.name[-1] for folder in tmp_path.iterdir()) == ["0", "1", "2", "3"]


def failed(cause: Exception | None = None) -> AuditError:
    error = AuditError("the model raised", where="net", next="Look at it.")
    error.audit = make_audit("net", partial="the model raised")
    error.__cause__ = cause
    return error


def test_a_failure_is_known_to_the_other_processes_of_its_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Cache(folder=tmp_path, run="the user's [name]/*")
    there.note_failure("stem", failed(InputError("images")))
    assert list(there.failures("stem")) == []  # here it may be tried again
    monkeypatch.setattr(os, "getpid", lambda: -1)
    (failure,) = there.failures("stem")
    assert str(failure.error) == str(failed())
    assert failure.error.audit == failed().audit
    assert failure.of_images
    assert len(there.names("stem")) == 1
    assert list(there.failures("other")) == []
    later = replace(there, run="another")
    assert list(later.failures("stem")) == []
    assert later.names("stem") == frozenset()


def test_one_at_a_time_has_the_turn_of_a_stem_and_others_have_theirs(kept: Cache) -> None:
    inside, waited = threading.Event(), threading.Event()

    def second() -> None:
        inside.wait()
        with kept.turn("another"), kept.turn("stem"):
            waited.set()

    other = threading.Thread(target=second)
    with kept.turn("stem"):
        other.start()
        inside.set()
        assert not waited.wait(0.3)
    other.join()
    assert waited.is_set()
