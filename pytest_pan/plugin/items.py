"""Models declared in pyproject.toml as test items, ``pan::MODEL::LIMIT``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from pytest_pan.config.pyproject import FILE, Model, is_spec
from pytest_pan.plugin import requests as asking
from pytest_pan.plugin import settings as options
from pytest_pan.records.audit import Audit
from pytest_pan.records.errors import PanError, did_you_mean
from pytest_pan.records.limits import Limit

ROOT = "pan"


NAMED = pytest.StashKey[tuple[str, ...]]()
"""The arguments that are ids of these items."""


def find_named(config: pytest.Config) -> None:
    """Notes the arguments that are ids of these items, ``pan::MODEL`` or ``pan::MODEL::LIMIT``;
    UsageError for an id that none of them has.
    """
    exists = (config.invocation_params.dir / ROOT).exists()
    ours = (
        () if exists else tuple(str(arg) for arg in config.args if str(arg).startswith(f"{ROOT}::"))
    )
    config.stash[NAMED] = ours
    declared = config.stash[asking.DECLARED]
    models = {model_id(m): declared.limits_of(m) for m in declared.models}
    limits = [f"{model}::{limit.keyword}" for model, held in models.items() for limit in held]
    for arg in ours:
        if arg not in (*models, *limits):
            hint = did_you_mean(arg, (*models, *limits))
            there = ", ".join(models) or "no model is declared"
            raise pytest.UsageError(
                f"not found: {arg}; allowed: what {FILE} declares, {there}. {hint}".rstrip()
            )


def model_id(model: Model) -> str:
    """``pan::MODEL``"""
    return f"{ROOT}::{model.name}"


def all_collected(config: pytest.Config) -> bool:
    """Whether this run is about the repo, or a folder of it, and not about single files."""
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        return True
    return any((config.invocation_params.dir / arg).is_dir() for arg in config.args)


def root_of(of: pytest.Session) -> Models | None:
    """The node of all declared models that this run is to collect; None where there is none."""
    config = of.config
    if not config.stash[asking.DECLARED].models or not (
        config.stash[NAMED] or all_collected(config)
    ):
        return None
    node: Models = Models.from_parent(of, name=ROOT, nodeid=ROOT, path=config.rootpath / FILE)
    return node


class Models(pytest.Collector):
    """All declared models."""

    def collect(self) -> Iterator[pytest.Collector]:
        for model in self.config.stash[asking.DECLARED].models:
            yield DeclaredModel.from_parent(self, name=model.name, model=model)


class DeclaredModel(pytest.Collector):
    """One declared model, an item for each of its limits."""

    def __init__(self, *, model: Model, **node: Any) -> None:
        super().__init__(**node)
        self.model = model

    def collect(self) -> Iterator[pytest.Item]:
        wanted = () if all_collected(self.config) else self.config.stash[NAMED]
        for limit in self.config.stash[asking.DECLARED].limits_of(self.model):
            name = limit.keyword
            if not wanted or {self.nodeid, f"{self.nodeid}::{name}"} & set(wanted):
                yield DeclaredLimit.from_parent(self, name=name, limit=limit, model=self)

    def audit(self) -> Audit:
        """The model's audit; fails the item that asks if there is none."""
        make = asking.factory(self.config)
        asked, problem = self._asked
        if problem:
            asking.fail(problem)
        return make(self.model.model, **asked)

    @cached_property
    def _asked(self) -> tuple[dict[str, Any], str]:
        """What the audit is asked with, or why not: the same objects for every item."""
        from pytest_pan.inputs.models import named as find

        model, root = self.model, str(self.config.rootpath)
        if root not in sys.path:
            sys.path.append(root)
        kept = set(model.settings) - options.on_command_line(self.config)
        asked = {key: model.settings[key] for key in model.settings if key in kept}
        if "probes" in asked:
            limits = self.config.stash[asking.DECLARED].limits_of(model)
            asked["probes"] = options.joined(asked["probes"], options.probes_for(limits))
        asked |= {"name": model.name, "arguments": dict(model.arguments)}
        try:
            for key in ("transform", "outputs", "classes"):
                if spec := getattr(model, key):
                    asked[key] = find(spec, key)
            asked["images"] = self._images()
        except PanError as error:
            return {}, f"{model.name}: {error}"
        return asked, ""

    def _images(self) -> object:
        from pytest_pan.inputs.models import called

        said, root = self.model.images, self.config.rootpath
        if is_spec(said) and not (root / said).exists():
            return called(said, {}, "images")
        folder = root / said
        here = Path.cwd()
        return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


class DeclaredLimit(pytest.Item):
    """One limit of a declared model."""

    def __init__(self, *, limit: Limit, model: DeclaredModel, **node: Any) -> None:
        super().__init__(**node)
        self.limit, self.model = limit, model
        self.add_marker(pytest.mark.pan)
        self._audit: Audit | None = None

    def setup(self) -> None:
        self._audit = self.model.audit()

    def runtest(self) -> None:
        if self._audit is None:
            asking.fail("no audit was made")
        if findings := asking.hold(self, self._audit, (self.limit,)):
            asking.refuse(self, findings)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.model.model.line, self.nodeid
