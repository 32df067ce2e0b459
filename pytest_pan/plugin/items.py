"""Test items of the models declared in pyproject.toml, ``pan::MODEL::LIMIT``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from pytest_pan.config.pyproject import FILE, Model, is_spec
from pytest_pan.plugin import requests
from pytest_pan.plugin.settings import combine_probes, command_line_settings, probes_for
from pytest_pan.records.audit import Audit
from pytest_pan.records.errors import PanError, did_you_mean
from pytest_pan.records.limits import Limit
from pytest_pan.records.text import escaped

ROOT = "pan"

ITEM_IDS = pytest.StashKey[tuple[str, ...]]()
"""Command line arguments that are ids of these items."""


def find_item_ids(config: pytest.Config) -> None:
    """Store the arguments of the form ``pan::MODEL`` or ``pan::MODEL::LIMIT``.

    Raises UsageError for an id of no declared model or limit.
    """
    folder_exists = (config.invocation_params.dir / ROOT).exists()
    arguments = () if folder_exists else map(str, config.args)
    ids = tuple(argument for argument in arguments if argument.startswith(f"{ROOT}::"))
    config.stash[ITEM_IDS] = ids
    declared = config.stash[requests.DECLARED]
    models = {model_id(m): declared.limits_of(m) for m in declared.models}
    items = [f"{model}::{_name(limit)}" for model, limits in models.items() for limit in limits]
    for item_id in ids:
        if item_id not in (*models, *items):
            hint = did_you_mean(item_id, (*models, *items))
            known = ", ".join(models) or "none"
            raise pytest.UsageError(
                f"not found: {escaped(item_id)}; allowed: models declared in {FILE} ({known}). "
                f"{hint}".rstrip()
            )


def model_id(model: Model) -> str:
    """Return ``pan::MODEL``."""
    return f"{ROOT}::{model.name}"


def _name(limit: Limit) -> str:
    """Return the name of a limit's item, safe to print."""
    return escaped(limit.keyword)


def only_shows(config: pytest.Config) -> bool:
    """Return whether the run shows tests or fixtures and calls no test."""
    options = ("collectonly", "setuponly", "setupplan")
    return any(config.getoption(name, False) for name in options)


def is_whole_repo(config: pytest.Config) -> bool:
    """Return whether this run collects the repository or a folder, not only single files."""
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        return True
    return any((config.invocation_params.dir / arg).is_dir() for arg in config.args)


def declared_models(session: pytest.Session) -> Models | None:
    """Return the collector of all declared models; None if this run collects none."""
    config = session.config
    if not config.stash[requests.DECLARED].models or not (
        config.stash[ITEM_IDS] or is_whole_repo(config)
    ):
        return None
    path = config.rootpath / FILE
    node: Models = Models.from_parent(session, name=ROOT, nodeid=ROOT, path=path)
    return node


class Models(pytest.Collector):
    """Collector of all declared models."""

    def collect(self) -> Iterator[pytest.Collector]:
        for model in self.config.stash[requests.DECLARED].models:
            yield DeclaredModel.from_parent(self, name=model.name, model=model)


class DeclaredModel(pytest.Collector):
    """Collector of a declared model's limits."""

    def __init__(self, *, model: Model, **node: Any) -> None:
        super().__init__(**node)
        self.model = model

    def collect(self) -> Iterator[pytest.Item]:
        wanted = () if is_whole_repo(self.config) else self.config.stash[ITEM_IDS]
        for limit in self.config.stash[requests.DECLARED].limits_of(self.model):
            name = _name(limit)
            if not wanted or {self.nodeid, f"{self.nodeid}::{name}"} & set(wanted):
                yield DeclaredLimit.from_parent(self, name=name, limit=limit, model=self)

    def audit(self) -> Audit:
        """Return the model's audit, or fail the running item."""
        return requests.deliver(self.config, self._answer)

    @cached_property
    def _answer(self) -> requests.Answer:
        """The audit or its failure, made once for all limits of the model."""
        arguments, problem = self._arguments()
        if problem:
            return requests.Answer(None, problem)
        return requests.request(self.config, self.model.model, arguments.pop("images"), arguments)

    def _arguments(self) -> tuple[dict[str, Any], str]:
        """Return the arguments of the audit and an empty text, or why they cannot be loaded."""
        from pytest_pan.inputs.models import called, named

        model, root = self.model, str(self.config.rootpath)
        if root not in sys.path:
            sys.path.append(root)
        overridden = command_line_settings(self.config)
        arguments = {key: v for key, v in model.settings.items() if key not in overridden}
        if "probes" in arguments:
            limits = self.config.stash[requests.DECLARED].limits_of(model)
            arguments["probes"] = combine_probes(arguments["probes"], probes_for(limits))
        arguments |= {"name": model.name, "arguments": dict(model.arguments)}
        try:
            for key in ("transform", "outputs", "classes"):
                if spec := getattr(model, key):
                    arguments[key] = named(spec, key)
            if groups := model.groups:
                arguments["groups"] = named(groups, "groups") if is_spec(groups) else groups
            if spec := model.large_images:
                arguments["large_images"] = called(spec, {}, "large_images")
            arguments["images"] = self._images()
        except PanError as error:
            return {}, f"{model.name}: {error}"
        except requests.OUTCOMES as error:
            return {}, requests.broken_off(error, model.name)
        return arguments, ""

    def _images(self) -> object:
        from pytest_pan.inputs.models import called

        text, root = self.model.images, self.config.rootpath
        if is_spec(text) and not (root / text).exists():
            return called(text, {}, "images")
        folder, cwd = root / text, Path.cwd()
        return str(folder.relative_to(cwd) if folder.is_relative_to(cwd) else folder)


class DeclaredLimit(pytest.Item):
    """Test item of one limit of a declared model."""

    def __init__(self, *, limit: Limit, model: DeclaredModel, **node: Any) -> None:
        super().__init__(**node)
        self.limit, self.model = limit, model
        self.add_marker(pytest.mark.pan)
        self._audit: Audit | None = None

    def setup(self) -> None:
        if not only_shows(self.config):
            self._audit = self.model.audit()

    def runtest(self) -> None:
        if self._audit is None:
            requests.fail("no audit was made")
        if failures := requests.check(self, self._audit, (self.limit,)):
            requests.fail_by_limits(self, failures)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.model.model.line, self.nodeid
