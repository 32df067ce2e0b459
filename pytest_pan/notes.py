"""What weakens an audit's figures, in words; and the warning for the worst of it."""

from __future__ import annotations

import warnings

from pytest_pan import measures
from pytest_pan.errors import PanWarning
from pytest_pan.probes import pans, portraits
from pytest_pan.probes.states import States
from pytest_pan.records import Audit

FEW_IMAGES = 50
AIM = 1 / 512
"""Error of statistics that edges from fitting first images stay below."""


def warn(result: Audit, *, stacklevel: int = 2) -> None:
    """A :class:`PanWarning` where the images are too few for the figures to be trusted."""
    if (count := result.images["count"]) < FEW_IMAGES:
        note = f"{result.model['name']}: {_few(count)}"
        warnings.warn(note, PanWarning, stacklevel=stacklevel)


def notes(found: pans.Findings, states: States, images: int) -> tuple[str, ...]:
    """Of the detection: layers seldom run, bounds, few images, small maps, portraits left out."""
    said = []
    seldom = [state for state in states.examined() if state.images < states.images]
    if seldom:
        least = min(seldom, key=lambda state: state.images)
        said.append(
            f"{len(seldom)} layers did not run on every image, {least.site.name} on {least.images} "
            f"of {states.images}"
        )
    if states.bounded:
        said.append(_bounded(found))
    if images < FEW_IMAGES:
        said.append(_few(images))
    if found.stability.why_not:
        said.append(
            f"no convergence, stability and intervals of the PANs: {found.stability.why_not}"
        )
    if len(found.neurons) > portraits.PORTRAITS:
        said.append(
            f"distance profiles and histograms are those of the {portraits.PORTRAITS} strongest "
            f"of {len(found.neurons)} PANs"
        )
    small = [site for site in found.sites if site.reliability == "low"]
    if small:
        share = sum(site.channels for site in small) / sum(s.channels for s in found.sites)
        text = measures.find("pan_fraction").text(share)
        said.append(
            f"{len(small)} layers with {text} of the neurons have maps up to 7x7, where the "
            "method weakens"
        )
    return tuple(said)


def cut(size: int | None) -> tuple[str, ...]:
    """Of the whole audit: the size that batches had to be cut to, if they had to."""
    if size is None:
        return ()
    return (f"the device's memory was too small: batches were cut to {size} images",)


def _bounded(found: pans.Findings) -> str:
    pans = found.measures["pan_count"]
    ends = pans.bounds or (pans.value, pans.value)
    open_ = sum(bool(neuron.undecided) for neuron in found.neurons)
    text = (
        "too many images to keep their maps: values were counted between fixed edges, statistics "
        f"are within {found.error:.5f}, the number of PANs is from {ends[0]:g} to {ends[1]:g}, "
        f"{open_} of those listed are within the error of the threshold"
    )
    if found.error > AIM:
        text += (
            f"; more than the {AIM:.5f} aimed at: the first images are not like the rest, shuffle "
            "them or raise pan_memory"
        )
    return text


def _few(images: int) -> str:
    return (
        f"only {images} image{'s' * (images != 1)}: fewer than {FEW_IMAGES} count too many PANs "
        "and name the wrong ones"
    )
