"""Lines of zeros inside the images: planted PANs, scipy and pencil and paper as oracles."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from nets import bright_images, conv, missing
from scipy.stats import ks_2samp
from torch import Tensor, nn

from pytest_pan import audit
from pytest_pan.engine.passes import Round
from pytest_pan.probes.activations.states import States
from pytest_pan.probes.intrusion.lines import LINES, ZeroLine, insert
from pytest_pan.probes.intrusion.observer import IntrusionObserver, measured
from pytest_pan.probes.intrusion.records import Intrusion
from pytest_pan.probes.observer import ORIGINAL, Context, Pass
from pytest_pan.probes.original import OriginalOutputs
from pytest_pan.records.audit import Settings

pytestmark = pytest.mark.filterwarnings("ignore::pytest_pan.PanWarning")

ALL = (ORIGINAL, *(Pass(inputs=ZeroLine(*line)) for line in LINES))
ROWS, COLUMNS = slice(0, 3), slice(3, 6)


def probed(
    model: nn.Module,
    images: Tensor,
    *,
    sizes: Sequence[int] = (),
    theta: float = 0.5,
    memory: int = 1 << 30,
    task: str = "auto",
) -> IntrusionObserver:
    """The observer after these images, in batches of these sizes, with the PANs the audit finds."""
    good = images[torch.isfinite(images).flatten(1).all(1)]
    known = audit(model, good, theta=theta, device="cpu")
    context = Context(
        model=model,
        settings=Settings(theta=theta, memory=memory, task=task),
        device=torch.device("cpu"),
        activations=States(1 << 30),
        original=OriginalOutputs(0, task, None),
    )
    context.original.drop()
    observer = IntrusionObserver(context)
    passes = observer.passes(known)
    assert passes
    run(observer, passes, model, images, sizes=sizes)
    return observer


def run(
    observer: IntrusionObserver,
    passes: Sequence[Pass],
    model: nn.Module,
    images: Tensor,
    *,
    first: int = 0,
    sizes: Sequence[int] = (),
) -> None:
    batches = images.split(list(sizes) or [len(images)])
    starts = first + np.cumsum([0, *map(len, batches)])
    with torch.no_grad():
        this = Round(model, {"intrusion": (observer, passes)}, device=torch.device("cpu"))
        this.run((int(start), (batch, None)) for start, batch in zip(starts, batches, strict=False))


def single(value: float) -> Tensor:
    """A filter (1, 3, 3) of nothing but its own pixel."""
    kernel = torch.zeros(1, 3, 3)
    kernel[0, 1, 1] = value
    return kernel


class Decided(nn.Module):
    """Two classes: the largest answer of the first filter in a column away from the padding's
    rows, and 2 less the image's corner pixel, which no line inside the image can reach.
    """

    def __init__(self, kernel: Tensor) -> None:
        super().__init__()
        self.conv = conv(kernel)

    def forward(self, images: Tensor) -> Tensor:
        first = self.conv(images)[:, 0, 2:-1, 0].amax(1)
        return torch.stack([first, 2 - images[:, 0, 0, 0]], 1)


class Far(Decided):
    """Looks at the PAN, but decides by the corner pixel alone."""

    def forward(self, images: Tensor) -> Tensor:
        super().forward(images)
        corner = images[:, 0, 0, 0]
        return torch.stack([corner, 2 - corner], 1)


def cornered(count: int, bold: int) -> Tensor:
    """Bright images (N, 1, 16, 16) whose corner pixel is 2.5 in the first few and 1 in the rest."""
    images = bright_images(count)
    images[:, :, 0, 0] = 1
    images[:bold, :, 0, 0] = 2.5
    return images


@pytest.mark.parametrize(("axis", "dim"), [("row", 2), ("column", 3)])
@pytest.mark.parametrize("position", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("shape", [(2, 3, 16, 16), (1, 1, 9, 14), (1, 2, 15, 8)])
def test_an_inserted_line_moves_the_rest_on_and_keeps_the_size(axis, dim, position, shape) -> None:
    images = torch.rand(shape) + 1
    at = int(shape[dim] * position)
    lines = list(images.split(1, dim))
    by_hand = torch.cat([*lines[:at], torch.zeros_like(lines[0]), *lines[at:-1]], dim)
    inserted = insert(images, axis, position)
    assert inserted.shape == images.shape
    assert torch.equal(inserted, by_hand)


@pytest.mark.parametrize("side", "TBLR")
def test_a_pan_fires_at_every_line_along_its_side_and_is_not_asked_across(side: str) -> None:
    found = probed(Pooled(missing(side)[None]), bright_images()).lines()
    fired = [intrusion.pans_fired for intrusion in found]
    along, across = (ROWS, COLUMNS) if side in "TB" else (COLUMNS, ROWS)
    assert fired[along] == [1.0, 1.0, 1.0]
    assert fired[across] == [None, None, None]


class Pooled(nn.Module):
    """A convolution and the mean of each of its channels."""

    def __init__(self, kernel: Tensor) -> None:
        super().__init__()
        self.conv = conv(kernel)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images).mean((2, 3))


@pytest.mark.parametrize(
    ("kernel", "fired"),
    [
        pytest.param(single(-1), 1.0, id="0 lies above -1 to -1.2, as the PAN's answer does"),
        pytest.param(single(1), 0.0, id="0 lies below 1 to 1.2, not the PAN's direction"),
        pytest.param(single(0), 0.0, id="0 everywhere"),
    ],
)
def test_a_non_pan_is_asked_in_the_direction_of_the_pan_it_stands_beside(kernel, fired) -> None:
    found = probed(Pooled(torch.stack([missing("T"), kernel])), bright_images()).lines()
    assert [intrusion.pans_fired for intrusion in found[ROWS]] == [1.0] * 3
    assert [intrusion.others_fired for intrusion in found[ROWS]] == [fired] * 3
    assert [intrusion.others_fired for intrusion in found[COLUMNS]] == [None] * 3


def test_a_layer_of_pans_has_nobody_to_stand_beside_them() -> None:
    found = probed(Pooled(missing("T")[None]), bright_images()).lines()
    assert {intrusion.others_fired for intrusion in found} == {None}


def test_a_pan_by_low_values_fires_by_low_values() -> None:
    found = probed(Pooled(-missing("B")[None]), bright_images()).lines()
    assert [intrusion.pans_fired for intrusion in found[ROWS]] == [1.0] * 3


def test_a_pan_of_padding_that_is_not_zero_does_not_fire_on_zeros_within() -> None:
    """Padded with 3, the neighbour above gives -3 at the top: low. A row of zeros gives 0: high."""
    model = nn.Sequential(
        nn.ConstantPad2d(1, 3.0), conv(missing("T")[None], padding=0), nn.Flatten()
    )
    found = probed(model, bright_images()).lines()
    assert [intrusion.pans_fired for intrusion in found[ROWS]] == [0.0] * 3


@pytest.mark.parametrize("stride", [1, 2])
def test_the_share_that_fires_is_that_of_scipy_on_whole_maps(stride: int) -> None:
    torch.manual_seed(3)
    layer = nn.Conv2d(2, 24, 3, stride=stride, padding=1)
    images = torch.randn(4, 2, 30, 26) * 0.5 + 1.2
    model = nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    theta = 0.3
    found = probed(model, images, theta=theta).lines()
    with torch.no_grad():
        clean = layer(images)
        got = [_scipy_share(layer(insert(images, *line)), clean, *line, theta) for line in LINES]
    assert [intrusion.pans_fired for intrusion in found] == pytest.approx(got)
    assert any(0 < share < 1 for share in got)


def _scipy_share(maps: Tensor, clean: Tensor, axis: str, position: float, theta: float) -> float:
    dim = 2 if axis == "row" else 3
    size = {2: 30, 3: 26}[dim]
    at = int(position * size) * maps.shape[dim] // size
    fired = []
    for channel in range(maps.shape[1]):
        centre = clean[:, channel, 1:-1, 1:-1].flatten().numpy()
        borders = [clean[:, channel].select(dim - 1, end).flatten().numpy() for end in (0, -1)]
        lines = [
            maps[:, channel].select(dim - 1, at + step).flatten().numpy() for step in (-1, 0, 1)
        ]
        directions = {name for border in borders for name in _directions(border, centre, theta)}
        if directions:
            heard = {name for line in lines for name in _directions(line, centre, theta)}
            fired.append(bool(heard & directions))
    return sum(fired) / len(fired)


def _directions(border: np.ndarray, centre: np.ndarray, theta: float) -> list[str]:
    """In which directions these values are a PAN's, by the definition in METHODS."""
    if ks_2samp(border, centre).statistic < theta:
        return []
    ranked, k = np.sort(centre), len(border)
    plus = ks_2samp(border, ranked[-k:], alternative="less").statistic
    minus = ks_2samp(border, ranked[:k], alternative="greater").statistic
    return [name for name, value in (("plus", plus), ("minus", minus)) if value >= theta]


def test_a_class_that_a_pan_decides_flips_where_the_line_lies_along_its_side() -> None:
    """The PAN gives at most -1 in its column and 0 under the row of zeros; the other class stands
    at -0.5 in four images and at 1 in three. So the four flip, and a column of zeros, which does
    not touch the column that decides, flips nothing.
    """
    images = cornered(7, bold=4)
    found = probed(Decided(missing("T")[None]), images).lines()
    assert [intrusion.prediction_flips for intrusion in found] == [4, 4, 4, 0, 0, 0]
    moved = images[:, 0, 1:-2, 0].amin(1).double().numpy()
    expected = [np.quantile(moved, 0.99)] * 3 + [0.0] * 3
    assert [i.sample_influence for i in found] == pytest.approx(expected, rel=1e-6)
    (measure,) = measured(found)
    assert (measure.measure, measure.value) == ("intrusion_flips", 4)


def test_a_class_decided_by_far_pixels_does_not_flip_though_the_pan_fires() -> None:
    found = probed(Far(missing("T")[None]), cornered(7, bold=4)).lines()
    assert [intrusion.pans_fired for intrusion in found[ROWS]] == [1.0] * 3
    assert [intrusion.prediction_flips for intrusion in found] == [0] * 6
    assert [intrusion.sample_influence for intrusion in found] == [0.0] * 6


def test_batches_of_any_size_give_the_same() -> None:
    torch.manual_seed(0)
    model = Decided(torch.cat([missing("T")[None], torch.randn(7, 1, 3, 3)]))
    images = cornered(7, bold=4)
    whole = probed(model, images).lines()
    assert probed(model, images, sizes=[1] * 7).lines() == whole
    assert probed(model, images, sizes=[4, 3]).lines() == whole


def test_an_image_that_is_not_finite_is_named_and_counts_for_nothing() -> None:
    images = cornered(7, bold=4)
    broken = torch.cat([images[:2], torch.full((1, 1, 16, 16), torch.nan), images[2:]])
    model = Decided(missing("TL")[None])
    probe = probed(model, broken, sizes=[2, 1, 5])
    assert probe.skips == {"image 2": "outputs not finite (original)"}
    assert probe.lines() == probed(model, images).lines()
    assert probe.lines()[0].images == 7


def test_findings_can_be_asked_for_again_and_after_more_images() -> None:
    model, images = Decided(missing("T")[None]), cornered(7, bold=4)
    probe = probed(model, images[:3])
    assert probe.lines() == probe.lines()
    run(probe, ALL, model, images[3:], first=3)
    assert probe.lines() == probed(model, images).lines()


def test_a_map_without_room_for_lines_is_left_out_by_name() -> None:
    probe = probed(Pooled(missing("T")[None]), bright_images(size=8))
    assert {intrusion.pans_fired for intrusion in probe.lines()} == {None}
    assert list(probe.left_out) == ["conv"]
    assert "map 8x8 too small" in probe.left_out["conv"]


def test_only_the_maps_of_those_asked_are_held() -> None:
    kernel = torch.cat([missing("T")[None], torch.zeros(30, 1, 3, 3)])
    probe = probed(Pooled(kernel), bright_images(6, 16))
    neurons, clean, lines = 2, 16 * 16, 6 * 3 * 16
    assert probe.held == 6 * neurons * (clean + lines) * 4


def test_outputs_without_predictions_have_no_flips_and_no_measure() -> None:
    found = probed(Decided(missing("T")[None]), cornered(4, 2), task="embedding").lines()
    assert {intrusion.prediction_flips for intrusion in found} == {None}
    assert measured(found) == []


@pytest.mark.parametrize("fired", [None, 0.25])
def test_the_record_goes_to_json_and_back(fired: float | None) -> None:
    record = Intrusion(
        axis="column",
        position=0.75,
        pans_fired=fired,
        others_fired=0.0,
        prediction_flips=None if fired is None else 3,
        sample_influence=1.5,
        images=4,
    )
    assert Intrusion.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_beyond_the_memory_responses_are_those_of_the_first_images_and_a_note_says_so() -> None:
    images = bright_images(count=40, size=32)
    model = conv(torch.stack([missing("T"), single(1)]))
    kept = probed(model, images, sizes=[10] * 4, memory=1)
    first = probed(model, images[:10])
    every = probed(model, images, sizes=[10] * 4)
    assert (kept.sampled_images, kept.images) == (10, 40)
    assert "the first 10 of 40 images" in kept.notes[0]
    assert every.notes == ()
    for ours, theirs, whole in zip(kept.lines(), first.lines(), every.lines(), strict=True):
        assert (ours.pans_fired, ours.others_fired) == (theirs.pans_fired, theirs.others_fired)
        assert ours.sample_influence == whole.sample_influence


def test_what_the_original_pass_gave_need_not_be_run_again() -> None:
    """With memory for one byte nothing of the first pass is kept, and it runs a second time."""
    model, images = Decided(missing("T")[None]), cornered(40, bold=20)
    kept, again = (
        audit(model, images, probes=("intrusion",), device="cpu", memory=memory)
        for memory in (1 << 30, 1)
    )
    flips = [[line.prediction_flips for line in found.intrusion] for found in (kept, again)]
    moved = [[line.sample_influence for line in found.intrusion] for found in (kept, again)]
    assert any(flips[0])
    assert flips[0] == flips[1]
    assert moved[0] == moved[1]
