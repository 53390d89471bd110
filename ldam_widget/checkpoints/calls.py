"""The few classes and functions of a checkpoint that are known: what they would make, made here from plain data."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .inert import Named, RefusedError, Stub, UnreadableTensor
from .pickles import WorkLimit, safe_key

_DIMENSIONS = 64
_DTYPES = {f"torch.{name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
STORAGES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64, "ComplexDoubleStorage": torch.complex128, "UntypedStorage": torch.uint8,
    "QInt8Storage": torch.qint8, "QUInt8Storage": torch.quint8, "QInt32Storage": torch.qint32,
}  # fmt: skip


NOTHING = torch.empty(0).untyped_storage()


class Storage(NamedTuple):
    """Numbers of one type in memory."""

    data: torch.UntypedStorage
    dtype: torch.dtype


class NumpyType:
    """A numpy dtype of plain numbers, which a pickle builds in two parts."""

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "<"

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


# ---- tensors ---------------------------------------------------------------------------------------------------------


def tensor_of(storage: Storage, dtype: torch.dtype, offset: object, size: object, stride: object) -> Tensor:
    """A view of a storage. Raises RefusedError unless it lies within."""
    shape, steps = _whole_numbers("size", size), _whole_numbers("stride", stride)
    (first,) = _whole_numbers("offset", (offset,))
    if len(shape) != len(steps):
        raise RefusedError("holds a tensor whose size and stride differ in length")
    available = storage.data.nbytes() // dtype.itemsize
    last = first + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
    count = 1
    for n in shape:
        count *= n
    if (count and last >= available) or count >= 2**48:
        raise RefusedError(f"holds a tensor of size {shape} in a storage of {available} numbers; is it cut off?")
    data = storage.data if count else NOTHING
    if data.nbytes() and data.data_ptr() % 16:  # as old files have them
        data = data.clone()  # type: ignore[no-untyped-call]
    return torch.empty(0, dtype=dtype).set_(data, first if count else 0, shape, steps)


def _whole_numbers(what: str, value: object) -> tuple[int, ...]:
    if not isinstance(value, (tuple, list)) or len(value) > _DIMENSIONS or any(type(n) is not int for n in value):
        raise RefusedError(f"holds a tensor whose {what} is not made of whole numbers")
    if any(not 0 <= n < 2**48 for n in value):
        raise RefusedError(f"holds a tensor whose {what} has a number below 0 or beyond any memory")
    return tuple(value)


def _tensor(storage: object, offset: object, size: object, stride: object, *rest: object) -> object:
    """`torch._utils._rebuild_tensor`, `_rebuild_tensor_v2`."""
    if not isinstance(storage, Storage):
        return NotImplemented
    if not (storage.dtype.is_floating_point or storage.dtype.is_complex or storage.dtype in _INTEGERS):
        return _quantised(storage, offset, size)
    tensor, marks = tensor_of(storage, storage.dtype, offset, size, stride), rest[2] if len(rest) > 2 else None
    if isinstance(marks, dict) and marks.get("conj"):
        tensor = tensor.conj()
    if isinstance(marks, dict) and marks.get("neg"):
        tensor = -tensor
    return tensor


_INTEGERS = {dtype for name, dtype in _DTYPES.items() if re.match(r"torch\.(u?int(8|16|32|64)|bool)$", name)}


def _typed_tensor(storage: object, offset: object, size: object, stride: object, *rest: object) -> object:
    """`_rebuild_tensor_v3`: a dtype that has no storage class."""
    dtype = _DTYPES.get(rest[2].name) if len(rest) > 2 and isinstance(rest[2], Named) else None
    if not isinstance(storage, Storage) or dtype is None:
        return NotImplemented
    return tensor_of(storage, dtype, offset, size, stride)


def _quantised(storage: object, offset: object, size: object, *_: object) -> object:
    kind = str(storage.dtype) if isinstance(storage, Storage) else "unknown type"
    return UnreadableTensor(_whole_numbers("size", size), f"is quantised ({kind}); save it after .dequantize()")


def _sparse(layout: object, data: object, *_: object) -> object:
    known = [value for value in data if isinstance(value, tuple)] if isinstance(data, tuple) else []
    shape = _whole_numbers("size", known[0]) if known else ()
    return UnreadableTensor(shape, f"is sparse ({layout}); save it after .to_dense()")


def _meta(dtype: object, size: object, *_: object) -> object:
    reason = "was saved from the meta device and has no data; save the model after it is loaded"
    return UnreadableTensor(_whole_numbers("size", size), reason)


def _subclass(make: object, kind: object, arguments: object, *_: object) -> object:
    """`_rebuild_from_type_v2`: the plain tensor below a subclass that adds attributes."""
    if not isinstance(make, Named) or type(arguments) is not tuple:
        return NotImplemented
    below = {f"torch._utils.{name}": build for name, build in _TENSORS.items()}.get(make.name)
    found = NotImplemented if below is None else below(*arguments)
    if found is NotImplemented and isinstance(kind, Named):
        return Stub(kind.name)
    return found


def _from_numpy(data: object, *_: object) -> object:
    """`_rebuild_device_tensor_from_numpy` and the like: of devices that are not here."""
    return data if isinstance(data, Tensor) else NotImplemented


_TENSORS: dict[str, Callable[..., object]] = {
    "_rebuild_tensor": _tensor, "_rebuild_tensor_v2": _tensor, "_rebuild_tensor_v3": _typed_tensor,
    "_rebuild_qtensor": _quantised, "_rebuild_sparse_tensor": _sparse, "_rebuild_meta_tensor_no_storage": _meta,
    "_rebuild_parameter": lambda data, *_: data, "_rebuild_parameter_with_state": lambda data, *_: data,
    "_rebuild_device_tensor_from_numpy": _from_numpy, "_rebuild_device_tensor_from_cpu_tensor": _from_numpy,
}  # fmt: skip


# ---- numpy -----------------------------------------------------------------------------------------------------------


def _numpy_type(code: object, *_: object) -> object:
    return NumpyType(code) if isinstance(code, str) and re.fullmatch(r"[biu][1248]|f[248]|c(8|16)", code) else Stub("")


def _raw(value: object, budget: WorkLimit) -> bytes:
    """Bytes, or text as Python 2 wrote them."""
    if not isinstance(value, (bytes, bytearray, str)):  # a bytearray from protocol 5 on
        raise ValueError("no bytes")
    budget.spend(len(value) // 256)
    return value.encode("latin-1") if isinstance(value, str) else bytes(value)


def _scalar(kind: object, data: object, budget: WorkLimit) -> object:
    if not isinstance(kind, NumpyType):
        return NotImplemented
    return np.frombuffer(_raw(data, budget), kind.dtype, 1)[0].item()


def _array(kind: object, shape: object, data: object, order: str, budget: WorkLimit) -> Any:
    """A copy of a numpy array as a tensor; NotImplemented for other than numbers."""
    if not isinstance(kind, NumpyType):
        return NotImplemented
    values = np.frombuffer(_raw(data, budget), kind.dtype).reshape(_whole_numbers("size", shape), order=order)  # type: ignore[call-overload]
    return torch.from_numpy(values.astype(kind.dtype.newbyteorder("="), order="C", copy=True))


def fill(target: object, state: object, budget: WorkLimit) -> None:
    """BUILD on a value made here: a numpy dtype's byte order, a numpy array's content; else nothing."""
    if isinstance(target, NumpyType) and isinstance(state, tuple) and len(state) > 1 and state[1] in (">", "<", "|"):
        target.order = state[1].replace("|", "=")
    if isinstance(target, Tensor) and isinstance(state, tuple) and len(state) == 5 and isinstance(state[2], NumpyType):
        _, shape, kind, fortran, data = state
        target.data = _array(kind, shape, data, "F" if fortran is True else "C", budget)


# ---- everything that is known ----------------------------------------------------------------------------------------


def _dict(arguments: tuple[Any, ...], budget: WorkLimit) -> object:
    """OrderedDict(), OrderedDict([[key, value], …]), Counter({…}), defaultdict(factory, …)."""
    given = next((value for value in arguments if isinstance(value, (dict, list, tuple))), ())
    budget.spend(len(given))
    items = given.items() if isinstance(given, dict) else given
    return {safe_key(key): value for key, value in items}


def _bytes(text: object, encoding: object, budget: WorkLimit) -> object:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        return NotImplemented
    return _raw(text, budget)


def _size(given: object, budget: WorkLimit) -> object:
    return _whole_numbers("size", given)


def _class_of(kind: object) -> object:
    """`copyreg._reconstructor(class, …)`, `copyreg.__newobj__(class, …)`: an object before its state is set."""
    return Stub(kind.name) if isinstance(kind, Named) else NotImplemented


_MODULES = r"^(copy_reg|copyreg|builtins|__builtin__|numpy\.core|numpy\._core|torch\._utils|torch\._tensor)\."
_SHORT = {"copy_reg": "copyreg", "__builtin__": "builtins", "numpy.core": "numpy._core"}


def build(name: str, arguments: tuple[Any, ...], budget: WorkLimit) -> object:
    """What a call of `name` would give, as plain data; NotImplemented where that is unknown. Raises RefusedError."""
    found = re.match(_MODULES, name)
    if found:
        name = _SHORT.get(found[1], found[1]) + name[found.end(1) :]
    if name.startswith("torch._utils.") and (make := _TENSORS.get(name.removeprefix("torch._utils."))):
        return _tried(name, make, *arguments)
    known = _KNOWN.get(name)
    return NotImplemented if known is None else _tried(name, known, arguments, budget)


def _tried(name: str, make: Callable[..., object], *arguments: Any) -> object:
    try:
        return make(*arguments)
    except (TypeError, IndexError) as error:  # too few arguments, or others than expected
        raise ValueError(f"wrong arguments for {name}") from error


_KNOWN: dict[str, Callable[[tuple[Any, ...], WorkLimit], object]] = {
    "torch._tensor._rebuild_from_type_v2": lambda a, _: _subclass(*a),
    "torch._tensor._rebuild_from_type": lambda a, _: _subclass(*a),
    "torch.serialization._get_layout": lambda a, _: str(a[0])[:40],
    "torch.Size": lambda a, budget: _size(a[0], budget),
    **dict.fromkeys(("collections.OrderedDict", "collections.Counter", "collections.defaultdict", "builtins.dict"),
                    _dict),
    "_codecs.encode": lambda a, budget: _bytes(a[0], a[1], budget),
    "builtins.set": lambda a, _: a[0] if a and isinstance(a[0], list) else [],
    "builtins.frozenset": lambda a, _: a[0] if a and isinstance(a[0], list) else [],
    "copyreg._reconstructor": lambda a, _: _class_of(a[0]),
    "copyreg.__newobj__": lambda a, _: _class_of(a[0]),
    "copyreg.__newobj_ex__": lambda a, _: _class_of(a[0]),
    "numpy.dtype": lambda a, _: _numpy_type(*a),
    "numpy._core.multiarray.scalar": lambda a, budget: _scalar(a[0], a[1], budget),
    "numpy._core.multiarray._reconstruct": lambda a, _: torch.empty(0),
    "numpy._core.numeric._frombuffer": lambda a, budget: _array(a[1], a[2], a[0], a[3], budget),
}  # fmt: skip
