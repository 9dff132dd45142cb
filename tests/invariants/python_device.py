"""A second device, made of Python: its tensors hold their values on the CPU, and refuse to meet those of the CPU.

What is left on the CPU fails here as it does beside a GPU, and what is computed can be compared. Numbers (0-d) of the
CPU may stand beside tensors of any device, as everywhere in torch. PyTorch registers a device for good, so this belongs
into a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "elsewhere"
CPU = torch.device("cpu")
TO, COPY = torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default


class WrongDevice(AssertionError):
    """Tensors of two devices have met."""


class Elsewhere(Tensor):
    """A tensor of the other device."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        place = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        found = Tensor._make_wrapper_subclass(cls, held.shape, **place, device=torch.device(NAME, 0))
        found.held = held
        return found

    def __repr__(self) -> str:
        return f"Elsewhere({self.held})"

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(inner: Mapping[str, Tensor], meta: None, size: Any, stride: Any) -> Elsewhere:
        return Elsewhere(inner["held"])

    @classmethod
    def __torch_dispatch__(cls, call: Any, types: Any, arguments: Sequence[Any] = (), options: Any = None) -> Any:
        return _run(call, arguments, options or {})


class _Makes(TorchDispatchMode):
    """Tensors are made on the other device where they are asked for there; all else goes its way."""

    def __torch_dispatch__(self, call: Any, types: Any, arguments: Sequence[Any] = (), options: Any = None) -> Any:
        options = options or {}
        asked = options.get("device")
        if (asked is not None and asked.type == NAME) or any(map(_is_elsewhere, tree_leaves((arguments, options)))):
            return _run(call, arguments, options)
        return call(*arguments, **options)


class _Backend(_DummyBackendModule):
    """What autocast and the writing of states ask of a device; its one stream has always done everything."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def current_stream(self) -> _Backend:
        return self

    def stream(self, stream: object) -> AbstractContextManager[None]:
        return nullcontext()

    def synchronize(self) -> None:
        pass


@contextmanager
def other_device() -> Iterator[torch.device]:
    """The device, where its tensors can be made."""
    _setup_privateuseone_for_python_backend(NAME, backend_module=_Backend())
    # torch.tensor(numbers, device=...) goes past every mode: it makes room on the device and copies into it
    library = torch.library.Library("aten", "IMPL")
    library.impl("empty_strided", _room, "PrivateUse1")
    library.impl("copy_", _fill, "PrivateUse1")
    with _Makes():
        yield torch.device(NAME, 0)


def _room(size: Sequence[int], stride: Sequence[int], *, dtype: torch.dtype | None = None, **_: Any) -> Elsewhere:
    return Elsewhere(torch.empty_strided(size, stride, dtype=dtype))


def _fill(room: Elsewhere, source: Tensor, wait: bool = False) -> Elsewhere:
    room.held.copy_(_held(source))
    return room


def _run(call: Callable[..., Any], arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """The call on the CPU; what it gives lies where it was asked for."""
    asked = options.get("device")
    if call is COPY:
        _held(arguments[0]).copy_(_held(arguments[1]))
        return arguments[0]
    if call is not TO:
        tensors = (one for one in tree_leaves((arguments, options)) if isinstance(one, Tensor))
        strangers = [tuple(one.shape) for one in tensors if one.ndim and not _is_elsewhere(one)]
        if strangers or (asked is not None and asked.type == "cpu"):
            raise WrongDevice(f"{call}: elsewhere meets the CPU, {strangers or 'where it is to make a tensor'}")
    inner, named = tree_map(_held, (tuple(arguments), dict(options)))
    if asked is not None:
        named["device"] = CPU
    found = call(*inner, **named)
    if len(inner) and found is inner[0]:  # changed in place
        return arguments[0]
    if call is TO and asked is not None and asked.type == "cpu":
        return found
    return tree_map(lambda one: Elsewhere(one) if isinstance(one, Tensor) else one, found)


def _is_elsewhere(value: object) -> bool:
    return isinstance(value, Elsewhere)


def _held(value: Any) -> Any:
    return value.held if isinstance(value, Elsewhere) else value
