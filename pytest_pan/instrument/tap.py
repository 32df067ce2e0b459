"""The one seam into PyTorch: sees every conv2d and pad call, with the calling module's name.

A ``TorchFunctionMode`` sees modules, functional calls, parametrised and wrapped convolutions alike
and leaves nothing behind in the model. Names come from global forward hooks, which exist only
while the tap is open and live in PyTorch, not in the user's modules.
"""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

from pytest_pan.instrument import functions
from pytest_pan.instrument.calls import (
    Arguments,
    ConvCall,
    conv2d_arguments,
    other_convolution,
    unfold_with_padding,
)
from pytest_pan.instrument.padding import Padding
from pytest_pan.instrument.pools import PoolArguments, PoolCall, pool_arguments
from pytest_pan.instrument.sites import (
    COMPLEX,
    FUNC_TRANSFORM,
    HIDDEN,
    OTHER_BATCH,
    OTHER_THREAD,
    UNFOLDED,
    site_name,
    why_not,
)
from pytest_pan.instrument.unseen import ROOT, may_convolve, unseen_convolutions, with_padding

__all__ = ["ROOT", "ConvCall", "PoolCall", "Tap", "tapped", "unseen_convolutions"]


class Tap(TorchFunctionMode):
    """Calls ``see(call)`` after each conv2d; a tensor it returns takes the output's place.

    ``passed_over(name, why)`` is called for convolutions that cannot be examined, and ``see_pool``
    after each pool with windows of a fixed size. Open the tap with :func:`tapped`, and call
    :meth:`begin` before each forward pass, which numbers the calls anew.
    """

    def __init__(
        self,
        model: nn.Module,
        see: Callable[[ConvCall], Tensor | None],
        passed_over: Callable[[str, str], None] = lambda name, why: None,
        *,
        see_pool: Callable[[PoolCall], None] | None = None,
    ) -> None:
        super().__init__()
        self._see, self._passed_over, self._see_pool = see, passed_over, see_pool
        self._names = {module: site_name(name) or ROOT for name, module in model.named_modules()}
        self._leaves = {name for each, name in self._names.items() if _only_computes(each)}
        self._running: list[tuple[str, int]] = []
        """Modules that run now, with the number of convolutions seen before each."""
        self._inner: list[Tap] = []
        """Taps opened while this one is open: what they change is seen here."""
        self._calls: Counter[str] = Counter()
        self._count = 0
        """Number of convolutions seen, examined or not."""
        self.may_mix: dict[str, Tensor] = {}
        """First map (1, C, H, W) by call, where the call may mix the images of a batch: its weight
        was computed, perhaps from them, or it gave one map for all of them."""
        self.begin()

    def begin(self, images: int = 0) -> None:
        """Start a forward pass over so many images (0: unknown), on the thread that calls it."""
        self._thread = threading.get_ident()
        self._images = images
        self._padding = Padding(self._is_state)
        self._running.clear()
        self._calls.clear()
        self._seen: set[str] = set()
        self._unseen: dict[str, str] = {}
        """Modules that ran without a convolution in sight, with the reason."""

    def end(self) -> None:
        """Report the modules whose convolutions ran out of sight in this pass."""
        for name, why in list(self._unseen.items()):
            if name not in self._seen:
                self._passed_over(name, why)
        self._unseen.clear()

    @contextmanager
    def _including(self, tap: Tap) -> Iterator[None]:
        self._inner.append(tap)
        try:
            yield
        finally:
            self._inner.remove(tap)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = functions.name_of(func)
        taps = (*reversed(self._inner), self)
        for tap in taps:
            tap._padding.before(func, args, kwargs)
        result = func(*args, **kwargs)
        for tap in taps:
            result = tap._after(name, func, args, kwargs, result)
        if name not in functions.FROM_OUTSIDE:
            for tap in taps:
                tap._padding.know([result])
        return result

    def _after(self, name: str, func: Any, args: Any, kwargs: Any, result: Any) -> Any:
        """Look at a function that has run; return its result, or what takes its place."""
        if (arguments := conv2d_arguments(func, args, kwargs)) is not None:
            return self._convolved(result, arguments)
        if why := other_convolution(func, args, kwargs):
            self._passed_over(self._call_name(), why)
        elif why := self._unfolded(name, func, args, kwargs):
            self._count += 1
            self._passed_over(f"{self._module()} (unfold)", why)
        else:
            if self._see_pool is not None and (pool := pool_arguments(func, args, kwargs)):
                self._see_pool(self._pool_call(name, pool, result))
            self._padding.after(name, func, args, kwargs, result)
        return result

    def _convolved(self, output: Tensor, arguments: Arguments) -> Tensor:
        fold = arguments.fold(self._images)
        call = self._conv_call(output, arguments, fold=max(fold, 1))
        kept: Tensor | None = None
        reason = why_not(call.kernel, call.pad, call.map)
        if is_functorch_wrapped_tensor(output):
            self._passed_over(call.name, reason or FUNC_TRANSFORM)
        elif output.is_complex():
            self._passed_over(call.name, reason or COMPLEX)
        elif fold == 0 and not reason:
            apart = f", in {call.groups} groups" if call.groups > 1 else ""
            self._passed_over(call.name, OTHER_BATCH + apart)
        else:
            expected = 1 if isinstance(call.weight, nn.Parameter) else self._images
            mixes = self._images > 1 and len(call.maps) in (1, expected)
            if mixes and call.name not in self.may_mix:
                self.may_mix[call.name] = call.maps[:1].clone()
            kept = self._see(call)
        kept = output if kept is None else kept
        if call.kernel == call.stride == (1, 1):
            self._padding.put(kept, call.pad)
        return kept

    def _conv_call(self, output: Tensor, arguments: Arguments, *, fold: int) -> ConvCall:
        return ConvCall(
            name=self._call_name(),
            input=arguments.input,
            weight=arguments.weight,
            bias=arguments.bias,
            stride=arguments.stride,
            dilation=arguments.dilation,
            groups=arguments.groups,
            before=self._padding.of(arguments.input),
            own=arguments.own,
            output=output,
            fold=fold,
        )

    def _pool_call(self, function: str, arguments: PoolArguments, result: Any) -> PoolCall:
        name = self._module()
        if name not in self._leaves:
            name = f"{name} ({function})"
        self._calls[name] += 1
        count = self._calls[name]
        return PoolCall(
            **{each.name: getattr(arguments, each.name) for each in fields(arguments)},
            name=name + (f"#{count}" if count > 1 else ""),
            before=self._padding.of(arguments.input),
            output=result[0] if isinstance(result, tuple) else result,
        )

    def _unfolded(self, name: str, func: Any, args: Any, kwargs: Any) -> str:
        """Return the reason to list a call that unfolds a padded map; empty for any other call."""
        if why := unfold_with_padding(func, args, kwargs):
            return why
        is_unfold = name in ("unfold", "im2col")
        return UNFOLDED if is_unfold and args and self._padding.has(args[0]) else ""

    def _is_state(self, tensor: Tensor) -> bool:
        return any(
            tensor is each
            for module in self._names
            for each in (*module.parameters(False), *module.buffers(False), *vars(module).values())
        )

    def _module(self) -> str:
        return self._running[-1][0] if self._running else ROOT

    def _call_name(self) -> str:
        name = self._module()
        self._count += 1
        self._calls[name] += 1
        count = self._calls[name]
        return name + (f"#{count}" if count > 1 else "")

    def _enter_module(self, module: nn.Module, args: Any) -> None:
        name = self._names.get(module)
        if name is None:
            return
        if threading.get_ident() == self._thread:
            if name == ROOT and not self._running:
                self._padding.know(args)
            self._running.append((name, self._count))
        elif may_convolve(module):
            self._unseen.setdefault(name, with_padding(OTHER_THREAD, module))

    def _leave_module(self, module: nn.Module, _args: Any, output: Any) -> None:
        is_ours = module in self._names and threading.get_ident() == self._thread
        if not is_ours or not self._running:
            return
        name, seen_before = self._running.pop()
        if self._count > seen_before:
            self._seen.add(name)
        elif isinstance(module, nn.Conv2d) and output is not None:
            self._unseen.setdefault(name, with_padding(HIDDEN, module))


def _only_computes(module: nn.Module) -> bool:
    """Return whether a module has neither parameters nor modules, as ``nn.MaxPool2d``."""
    return not (module._modules or module._parameters)


@contextmanager
def tapped(tap: Tap) -> Iterator[Tap]:
    """Open the tap, with its hooks; close both afterwards, also if the model raised.

    A tap inside another one, of a repadded model that is audited, sees each function first.
    """
    outer = _open_tap()
    enter = register_module_forward_pre_hook(tap._enter_module)
    leave = register_module_forward_hook(tap._leave_module, always_call=True)
    try:
        with warnings.catch_warnings(), tap if outer is None else outer._including(tap):
            warnings.filterwarnings("ignore", "Using `torch.compile.module.` when there are global")
            yield tap
    finally:
        enter.remove()
        leave.remove()
    tap.end()


def _open_tap() -> Tap | None:
    """Return the tap that is open on this thread, if any."""
    return next(
        (mode for mode in _get_current_function_mode_stack() if isinstance(mode, Tap)), None
    )
