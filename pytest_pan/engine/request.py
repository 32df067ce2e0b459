"""The inputs that an audit is requested with, and their fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_pan.records.audit import Settings
from pytest_pan.records.errors import ConfigError

if TYPE_CHECKING:
    from pytest_pan.inputs.images import Images

_EXTRAS: Mapping[str, Any] = {
    "transform": None,
    "arguments": None,
    "name": "",
    "outputs": None,
    "classes": None,
    "groups": None,
    "large_images": None,
}
"""What may be given beside settings, with the default that leaving it out means."""


@dataclass(frozen=True, slots=True)
class Request:
    """The inputs of an audit, with their fingerprint unless it cannot be taken."""

    model: Any
    images: object
    settings: Settings
    extras: Mapping[str, Any]
    source: Images | None = None
    network: str = ""
    computed: str = ""
    held: str = ""
    """As of :class:`Fingerprint`; empty where it cannot be taken."""

    def held_now(self) -> str:
        """Return what model and images hold now, as :attr:`held`."""
        from pytest_pan.engine.fingerprint import held

        if self.source is None or not self.network:
            return ""
        pick, transform = self.extras["outputs"], self.extras["transform"]
        return held(self.model, self.source, transform=transform, pick=pick)


def request_of(
    model: object, images: object, default: Settings, given: Mapping[str, Any]
) -> Request:
    """Load the model and take the fingerprint.

    ``given`` are keyword arguments of :func:`pytest_pan.audit`; ``default`` holds the settings
    that they leave out. Raises :class:`ConfigError` for an unknown argument. Other errors are left
    to the audit to report: the request then has no fingerprint.
    """
    from torch.utils.data import IterableDataset

    from pytest_pan.config.settings import check
    from pytest_pan.engine.fingerprint import fingerprint
    from pytest_pan.inputs.images import Images
    from pytest_pan.inputs.models import class_names, load_model, name_of
    from pytest_pan.inputs.transforms import transform_of
    from pytest_pan.instrument.devices import resolve_device

    settings, extras = _settings(default, given)
    plain = Request(model, images, settings, extras)
    try:
        check(settings)
        loaded = load_model(model, extras["arguments"])
        named = {**extras, "name": name_of(model, loaded, extras["name"])}
        source = Images(
            images,
            transform=extras["transform"],
            batch_size=settings.batch_size,
            bad_images=settings.bad_images,
            seed=settings.seed,
            workers=settings.workers,
            device=resolve_device(settings.device),
            suggested=transform_of(loaded, extras["classes"]),
            outputs=class_names(extras["classes"], ()),
            groups=extras["groups"],
        )
        if isinstance(getattr(images, "dataset", images), IterableDataset):
            return Request(loaded, images, settings, named, source)  # a look would use it up
        found = fingerprint(
            loaded,
            source,
            settings=settings,
            transform=extras["transform"],
            pick=extras["outputs"],
            large_images=extras["large_images"],
            names=(named["name"], *class_names(extras["classes"], source.class_names)),
        )
    except Exception:
        return plain
    digests = found.network, found.computed, found.held
    return Request(loaded, images, settings, named, source, *digests)


def _settings(default: Settings, given: Mapping[str, Any]) -> tuple[Settings, dict[str, Any]]:
    """Split keyword arguments into settings and the rest; :class:`ConfigError` for others."""
    extras = {name: given.get(name, default) for name, default in _EXTRAS.items()}
    chosen = {name: value for name, value in given.items() if name not in extras}
    unknown = sorted(set(chosen) - set(Settings.__slots__))
    if unknown:
        allowed = ", ".join((*Settings.__slots__, *extras))
        raise ConfigError("setting of pan()", got=", ".join(unknown), allowed=allowed)
    return replace(default, **chosen), extras
