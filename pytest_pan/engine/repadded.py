"""The way out: a model with another padding in place, to compare, fine-tune or ship."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pytest_pan.instrument.repad import NotSwappableError, repad
from pytest_pan.instrument.tap import ConvCall, Tap, tapped
from pytest_pan.records.audit import Audit
from pytest_pan.records.errors import ConfigError
from pytest_pan.records.plans import MODES, Plan


class Repadded(nn.Module):
    """A model whose forward pass pads the plan's channels in the plan's mode.

    The weights are those of ``model``, a copy of the user's; gradients flow, so it can be
    fine-tuned. Its state dict has the same keys as the user's model, and loads from it. Sites
    that cannot be swapped keep their padding and are listed in ``not_swappable`` after a pass.
    """

    def __init__(self, model: nn.Module, plan: Plan) -> None:
        super().__init__()
        self.model = model
        self.plan = plan
        self.not_swappable: dict[str, str] = {}
        self.register_state_dict_post_hook(_without_prefix)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_with_prefix)  # type: ignore[no-untyped-call]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's own forward pass, repadded."""
        with applied(self.model, self.plan, self.not_swappable):
            return self.model(*args, **kwargs)


def repadded(model: nn.Module, plan: Plan | Audit, *, mode: str = "reflect") -> Repadded:
    """A copy of the model with the plan applied; of an :class:`Audit`, the plan is its PANs'.

    Raises :class:`ConfigError` for a site or a channel that the model does not have; a site is
    the name of a module, with ``#2`` and so on for its further calls.
    """
    if isinstance(plan, Audit):
        plan = plan_of(plan, mode=mode)
    _check(model, plan)
    return Repadded(copy.deepcopy(model), plan)


def plan_of(audit: Audit, *, mode: str = "reflect") -> Plan:
    """The plan that swaps exactly the PANs an audit found."""
    channels: dict[str, tuple[int, ...]] = {}
    for neuron in audit.neurons:
        channels[neuron.site] = (*channels.get(neuron.site, ()), neuron.channel)
    return Plan(name=f"PAN-{mode}", mode=mode, channels=channels)


@contextmanager
def applied(
    model: nn.Module, plan: Plan, not_swappable: dict[str, str] | None = None
) -> Iterator[nn.Module]:
    """The plan at work in the forward passes of the user's own model inside the block.

    The model is not changed; a hook that tells one pass from the next goes with the block.

    ``not_swappable`` is filled with the sites that keep their padding, and why.
    """
    chosen = plan.channels
    generator = None if plan.seed is None else torch.Generator().manual_seed(plan.seed)

    def see(call: ConvCall) -> Tensor | None:
        if chosen is not None and not chosen.get(call.name):
            return None
        if chosen is None and (call.kernel == (1, 1) or not call.pad.visible):
            return None
        channels = None
        if chosen is not None:
            channels = torch.tensor(chosen[call.name], device=call.weight.device)
        try:
            return repad(call, channels, plan.mode, generator)
        except NotSwappableError as error:
            if not_swappable is not None:
                not_swappable[call.name] = str(error)
            return None

    tap = Tap(model, see)
    hook = model.register_forward_pre_hook(lambda module, args: tap.begin())
    try:
        with tapped(tap):
            yield model
    finally:
        hook.remove()


def _check(model: nn.Module, plan: Plan) -> None:
    if plan.mode not in MODES:
        raise ConfigError("mode of the plan", got=repr(plan.mode), allowed=", ".join(MODES))
    modules: Mapping[str, nn.Module] = dict(model.named_modules())
    for site, channels in (plan.channels or {}).items():
        name = re.sub(r"#\d+$", "", site)
        module = modules.get("" if name == "(model)" else name)
        if module is None:
            raise ConfigError(
                f"no module {name!r} in the model",
                where=f"plan {plan.name}",
                next="Is the plan of another model?",
            )
        if isinstance(module, nn.Conv2d) and max(channels, default=-1) >= module.out_channels:
            raise ConfigError(
                "channel of the plan",
                where=site,
                got=str(max(channels)),
                allowed=f"0 to {module.out_channels - 1}",
            )


def _without_prefix(_module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    old = [key for key in state if key.startswith(f"{prefix}model.")]
    moved = {prefix + key[len(prefix) + len("model.") :]: state.pop(key) for key in old}
    state.update(moved)  # all at once: a model may have a "model" of its own


def _with_prefix(_module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    old = [key for key in state if key.startswith(prefix)]
    moved = {f"{prefix}model.{key[len(prefix) :]}": state.pop(key) for key in old}
    state.update(moved)
