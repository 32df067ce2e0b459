"""What weakens the figures of an audit as a whole, and the warning for the worst of it."""

from __future__ import annotations

import warnings

from pytest_pan.records.audit import Audit
from pytest_pan.records.errors import PanWarning

FEW_IMAGES = 50


def warn(audit: Audit, *, stacklevel: int = 2) -> None:
    """Issue a :class:`PanWarning` where the images are too few for the figures to be trusted."""
    for note in few_images(audit):
        text = f"{audit.model['name']}: {note}"
        warnings.warn(text, PanWarning, stacklevel=stacklevel)


def few_images(audit: Audit) -> tuple[str, ...]:
    """Return the note on too few images; none where there are enough."""
    count = audit.images["count"]
    if count >= FEW_IMAGES or not count:  # none: the audit stopped before the first
        return ()
    return (
        f"only {count} image{'s' * (count != 1)}: with fewer than {FEW_IMAGES}, too many "
        "neurons and the wrong ones are labelled PANs",
    )


def batches_cut(size: int | None) -> tuple[str, ...]:
    """Return the note on the size that batches had to be cut to; none where they had not."""
    if size is None:
        return ()
    return (f"the device ran out of memory: the batch size was reduced to {size}",)
