"""Models with another padding, to compare, fine-tune or ship."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch
import torch.fx
from torch import Tensor, nn

from pytest_pan.inputs.models import load_model
from pytest_pan.instrument.gate import copied
from pytest_pan.instrument.repad import NotSwappableError, repad
from pytest_pan.instrument.sites import module_of, site_name
from pytest_pan.instrument.tap import ROOT, ConvCall, Tap, tapped
from pytest_pan.records.audit import Audit
from pytest_pan.records.errors import ConfigError, InputError, shortened
from pytest_pan.records.plans import MODES, Plan

_running = threading.local()
"""Repadded models whose forward pass runs on this thread."""


class Repadded(nn.Module):
    """Mixin of a model's class: its forward pass pads the plan's channels in the plan's mode.

    Made by :func:`repadded`. The model is a copy of the user's, with its modules, names, attributes
    and state dict; gradients flow, so it can be fine-tuned.
    """

    pan_plan: Plan
    """The plan in effect, also as ``plan`` unless the model has an attribute of that name."""
    pan_not_swappable: dict[str, str]
    """Sites that kept their padding in a forward pass, with the reason; also ``not_swappable``."""
    _pan_class: type[nn.Module]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model, repadded."""
        return self._run(super().__call__, args, kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model's own forward pass, repadded."""
        return self._run(super().forward, args, kwargs)

    def _run(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        models = vars(_running).setdefault("models", set())
        is_traced = _has_proxy((args, kwargs))  # instead of *args itself, torch.fx gives one
        if id(self) in models and not is_traced:
            return function(*args, **kwargs)
        if is_traced or _has_proxy((*args, *kwargs.values())):
            raise InputError(
                "torch.fx cannot trace a repadded model: its padding is changed while it runs",
                where=type(self).__name__,
                next="Trace the model first, and repad the traced one: pytest_pan.repad("
                "torch.fx.symbolic_trace(model), plan).",
            )
        models.add(id(self))
        try:
            tap = _swapping(self, self.pan_plan, self.pan_not_swappable)
            tap.begin(_batch(args, kwargs))
            with tapped(tap):
                return function(*args, **kwargs)
        finally:
            models.discard(id(self))

    def __prepare_scriptable__(self) -> Any:
        raise InputError(
            "torch.jit.script cannot compile a repadded model: its padding is changed while it "
            "runs, by Python code",
            where=type(self).__name__,
            next="Use torch.jit.trace, which records the padding at one size of images.",
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        own: Any = getattr(super(), "__deepcopy__", None)
        if own is not None:
            twin = own(memo)
        else:
            twin = self._pan_class.__new__(self._pan_class)
            memo[id(self)] = twin
            twin.__setstate__(copy.deepcopy(self.__dict__, memo))
        return _with_plan(twin, self.pan_plan)  # type: ignore[return-value]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _restored, (self._pan_class, self.pan_plan), self.__dict__


def repadded(model: nn.Module, plan: Plan | Audit, *, mode: str = "reflect") -> Repadded:
    """Return a copy of the model that pads the plan's channels in the plan's mode.

    ``plan``: a :class:`Plan`, or an :class:`Audit`, whose PANs are then padded in ``mode``. The
    copy is an instance of the model's class, with the same module names and state dict; its own
    class is called ``Net (PAN-reflect)``. It has the plan as ``pan_plan`` and, after a forward
    pass, the sites that kept their padding as ``pan_not_swappable`` (also as ``plan`` and
    ``not_swappable`` where the model has no such attributes).

    Raises :class:`ConfigError` for a site or a channel that the model does not have (a site is the
    name of a module, with ``#2`` and so on for its further calls), and :class:`InputError` for
    TorchScript and for a model that cannot be copied.
    """
    if isinstance(plan, Audit):
        plan = plan_of(plan, mode=mode)
    if not isinstance(plan, Plan):
        raise ConfigError("plan", got=shortened(plan), allowed="a Plan or an Audit")
    if isinstance(model, torch.jit.ScriptModule):
        raise InputError(
            "TorchScript hides its convolutions, so their padding cannot be changed",
            where=type(model).__name__,
            next="Repad the nn.Module it was made from.",
        )
    model = load_model(model)
    _check(model, plan)
    return _with_plan(copied(model), plan)


def _with_plan(model: nn.Module, plan: Plan) -> Repadded:
    """Make the model itself an instance of a subclass of its class that applies the plan."""
    plain = type(model)._pan_class if isinstance(model, Repadded) else type(model)
    not_swappable: dict[str, str] = {}
    label = plan.name if plan.mode in plan.name else f"{plan.name}, {plan.mode}"
    name = f"{plain.__name__} ({label})"
    attributes: dict[str, Any] = {
        "__module__": plain.__module__,
        "__doc__": plain.__doc__,
        "__qualname__": name,
        "pan_plan": plan,
        "pan_not_swappable": not_swappable,
        "_pan_class": plain,
    }
    for short, value in (("plan", plan), ("not_swappable", not_swappable)):
        if not hasattr(model, short) or isinstance(model, Repadded):
            attributes[short] = value
    try:
        model.__class__ = type(name, (Repadded, plain), attributes)
    except Exception as error:
        raise InputError(
            f"cannot make a repadded class of it ({type(error).__name__}: {error})",
            where=plain.__name__,
            next="Use pytest_pan.applied(model, plan) around its forward passes.",
        ) from error
    return model  # type: ignore[return-value]


def _restored(plain: type[nn.Module], plan: Plan) -> Repadded:
    """Return an empty instance, for pickle to fill."""
    return _with_plan(plain.__new__(plain), plan)


def plan_of(audit: Audit, *, mode: str = "reflect") -> Plan:
    """Return the plan that swaps exactly the PANs an audit found."""
    channels: dict[str, tuple[int, ...]] = {}
    for neuron in audit.neurons:
        channels[neuron.site] = (*channels.get(neuron.site, ()), neuron.channel)
    return Plan(name=f"PAN-{mode}", mode=mode, channels=channels)


@contextmanager
def applied(
    model: nn.Module,
    plan: Plan,
    not_swappable: dict[str, str] | None = None,
    *,
    images: int = 0,
) -> Iterator[nn.Module]:
    """Apply a plan to the forward passes of the user's own model inside the block.

    The model is not changed; a hook that starts each pass is removed at the end of the block.
    ``not_swappable`` is filled with the sites that keep their padding, and why. ``images``: number
    of images of a pass, read from the model's arguments if 0.
    """
    tap = _swapping(model, plan, not_swappable)
    tap.begin(images)
    thread = threading.get_ident()

    def begin(_module: nn.Module, args: Any, kwargs: Any) -> None:
        if threading.get_ident() == thread:  # others may run the model, with taps of their own
            tap.begin(images or _batch(args, kwargs))

    hook = model.register_forward_pre_hook(begin, with_kwargs=True)
    try:
        with tapped(tap):
            yield model
    finally:
        hook.remove()


def _swapping(model: nn.Module, plan: Plan, not_swappable: dict[str, str] | None) -> Tap:
    """Return a tap that swaps the padding of the plan's channels."""
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

    return Tap(model, see)


def _has_proxy(values: Iterable[Any]) -> bool:
    return any(isinstance(value, torch.fx.Proxy) for value in values)


def _batch(args: Any, kwargs: Any) -> int:
    """Return the size of the first batch of maps among a model's arguments; 0 if there is none."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor) and value.dim() >= 4:
            return len(value)
    return 0


def _check(model: nn.Module, plan: Plan) -> None:
    if plan.mode not in MODES:
        raise ConfigError("mode of the plan", got=repr(plan.mode), allowed=", ".join(MODES))
    modules = {site_name(path) or ROOT: module for path, module in model.named_modules()}
    for site, channels in (plan.channels or {}).items():
        name = module_of(site)
        module = modules.get(site) or modules.get(name)
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
