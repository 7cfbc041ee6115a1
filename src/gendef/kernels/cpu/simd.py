"""Vectors of floats for loops that numba compiles: `load`, `store`, arithmetic, comparisons, weighted sums.

Numba leaves vectorisation to LLVM, which rarely vectorises loops that read and write several arrays. Here a vector is a
type of its own: 64 bytes, 16 values of float32 or 8 of float64, which LLVM splits into the processor's registers. A
scalar in an operation with a vector is rounded to the vector's type.
"""

import contextlib
import functools
import hashlib
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numba.extending
from llvmlite import ir
from numba import njit, types
from numba.extending import models, overload, register_model

from gendef.kernels.buffers import VECTOR_BYTES

# Typed anew: those who call the function leave out its first argument.
intrinsic = cast(Callable[[Callable[..., Any]], Callable[..., Any]], numba.extending.intrinsic)

_FLAGS = ("contract", "nsz")  # products and sums may become one instruction


class Vector(types.Type):
    """A vector of `element`, a numba float."""

    def __init__(self, element: types.Float) -> None:
        super().__init__(f"vector({element})")
        self.element = element

    @property
    def lanes(self) -> int:
        return VECTOR_BYTES * 8 // self.element.bitwidth

    @property
    def llvm(self) -> ir.VectorType:
        return ir.VectorType(ir.FloatType() if self.element.bitwidth == 32 else ir.DoubleType(), self.lanes)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, kind.llvm)


def _pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), ir.PointerType(Vector(kind.dtype).llvm))


@intrinsic
def load(_context: Any, array: Any, index: Any) -> Any:
    """The vector of array[index], array[index + 1], ...; the array is contiguous and of one axis."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, signature.args[0], *args), align=4)

    return Vector(array.dtype)(array, types.intp), generate


@intrinsic
def store(_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Write the vector `value` to array[index], array[index + 1], ..."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(context, builder, signature.args[0], *args[:2]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


def _everywhere(builder: Any, value: Any, kind: Any) -> Any:
    """The vector of `kind` that has `value`, a number of its element type, everywhere."""
    undefined = ir.Constant(kind.llvm, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    order = ir.Constant(ir.VectorType(ir.IntType(32), kind.lanes), [0] * kind.lanes)
    return builder.shuffle_vector(first, undefined, order)


@intrinsic
def _repeat(context: Any, scalar: Any, like: Any) -> Any:
    """The vector, of the type of `like`, that has `scalar` everywhere."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args[1]
        return _everywhere(builder, context.cast(builder, args[0], signature.args[0], kind.element), kind)

    return like(scalar, like), generate


@intrinsic
def spread(_context: Any, array: Any, index: Any, places: Any) -> Any:
    """A tuple as long as `places` of the vectors that have array[index], array[index + 1], ... everywhere.

    What is in `places` does not matter: its type says how many there are, so that they can be kept in registers.
    """
    kind = types.UniTuple(Vector(array.dtype), places.count)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = builder.gep(context.make_array(signature.args[0])(context, builder, args[0]).data, [args[1]])
        numbers = [builder.load(builder.gep(data, [ir.IntType(64)(place)])) for place in range(kind.count)]
        vectors = [_everywhere(builder, number, kind.dtype) for number in numbers]
        return context.make_tuple(builder, signature.return_type, vectors)

    return kind(array, types.intp, places), generate


@intrinsic
def weighted_sum(_context: Any, array: Any, index: Any, step: Any, weights: Any) -> Any:
    """The sum over k of weights[k] * load(array, index + k * step), for a tuple of vectors `weights`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        sums: list[Any] = []
        for place in range(weights.count):
            at = builder.add(args[1], builder.mul(args[2], args[2].type(place)))
            vector = builder.load(_pointer(context, builder, signature.args[0], args[0], at), align=4)
            product = builder.fmul(builder.extract_value(args[3], place), vector, flags=_FLAGS)
            # In two sums, so that a product need not wait for the one before.
            sums.append(product if place < 2 else builder.fadd(sums[-2], product, flags=_FLAGS))
        return sums[-1] if len(sums) == 1 else builder.fadd(sums[-2], sums[-1], flags=_FLAGS)

    return weights.dtype(array, types.intp, types.intp, weights), generate


@intrinsic
def where_greater(_context: Any, left: Any, right: Any, yes: Any, no: Any) -> Any:
    """`yes` where left > right, `no` elsewhere and where one of them is NaN; vectors, or numbers beside a vector."""
    kind = next(value for value in (left, right, yes, no) if isinstance(value, Vector))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vectors = [
            value if given == kind else _everywhere(builder, context.cast(builder, value, given, kind.element), kind)
            for value, given in zip(args, signature.args, strict=True)
        ]
        return builder.select(builder.fcmp_ordered(">", *vectors[:2]), *vectors[2:])

    return kind(left, right, yes, no), generate


@intrinsic
def prefetch(_context: Any, array: Any, index: Any) -> Any:
    """Have the cache line of array[index] brought for writing; `index` may be outside of the array."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        address = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address.type, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", (address.type,), kind)
        builder.call(function, [address, number(1), number(3), number(1)])  # for writing, into the nearest, of data
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


def _elementwise(build: Callable[[Any, Any, Any], Any]) -> Any:
    """A function of two vectors, from what builds its instruction."""

    @intrinsic
    def function(_context: Any, left: Any, right: Any) -> Any:
        return left(left, right), lambda context, builder, signature, args: build(builder, *args)

    return function


def _selected(predicate: str) -> Any:
    def build(builder: Any, left: Any, right: Any) -> Any:
        # A comparison with NaN is false, so that a NaN on the left is lost: put the bound there.
        return builder.select(builder.fcmp_ordered(predicate, left, right), left, right)

    return _elementwise(build)


_sum = _elementwise(lambda builder, left, right: builder.fadd(left, right, flags=_FLAGS))
_difference = _elementwise(lambda builder, left, right: builder.fsub(left, right, flags=_FLAGS))
_product = _elementwise(lambda builder, left, right: builder.fmul(left, right, flags=_FLAGS))
_least, _greatest = _selected("<"), _selected(">")


def smallest(bound: Any, vector: Any) -> Any:
    """The smaller value of both, value by value; NaN where `vector` is."""
    raise TypeError("this function works in compiled code only")


def largest(bound: Any, vector: Any) -> Any:
    """The larger value of both, value by value; NaN where `vector` is."""
    raise TypeError("this function works in compiled code only")


def lanes_of(array: Any) -> int:
    """How many values of the array's type a vector has."""
    raise TypeError("this function works in compiled code only")


@overload(lanes_of)
def _lanes_of(array):  # type: ignore[no-untyped-def]
    count = Vector(array.dtype).lanes
    return lambda array: count


def _overload(name: Callable[..., Any], function: Any) -> None:
    def implementation(left, right):  # type: ignore[no-untyped-def]  # numba compares it with the lambdas
        if isinstance(left, Vector) and isinstance(right, Vector):
            return lambda left, right: function(left, right)
        if isinstance(left, Vector) and isinstance(right, types.Number):
            return lambda left, right: function(left, _repeat(right, left))
        if isinstance(right, Vector) and isinstance(left, types.Number):
            return lambda left, right: function(_repeat(left, right), right)
        return None

    overload(name)(implementation)


for _name, _function in (
    (operator.add, _sum),
    (operator.sub, _difference),
    (operator.mul, _product),
    (smallest, _least),
    (largest, _greatest),
):
    _overload(_name, _function)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, compiled at its first call for the types of its arguments; it runs without the GIL.

    The machine code is kept in a file for the next process, where a folder for it can be written.
    """
    try:
        dispatcher = njit(function, cache=True, nogil=True, error_model="numpy")
    except RuntimeError:  # neither the package's folder nor the user's cache can be written to
        dispatcher = None
    if dispatcher is None or not _guard_cache(dispatcher):
        dispatcher = njit(function, nogil=True, error_model="numpy")
    return cast(Callable[..., Any], dispatcher)


def _guard_cache(dispatcher: Any) -> bool:
    """Make numba's file cache of `dispatcher` depend on all sources of the loops, and survive a full disk.

    numba compares the time and size of the function's own file only, though machine code contains functions of other
    files, and an OSError while saving ends the call. It has no public setting for either, so this is the one place
    that changes private attributes of numba.

    Returns:
        Whether this numba has these attributes. If not, nothing was changed, and the cache must not be used.
    """
    cache = getattr(dispatcher, "_cache", None)
    file = getattr(cache, "_cache_file", None)
    save = getattr(cache, "save_overload", None)
    if cache is None or file is None or not hasattr(file, "_source_stamp") or not callable(save):
        return False

    def save_if_possible(*arguments: Any) -> None:
        with contextlib.suppress(OSError):
            save(*arguments)

    file._source_stamp = (file._source_stamp, _sources())
    cache.save_overload = save_if_possible
    return True


@functools.cache
def _sources() -> str:
    """A digest of all files that the loops are compiled from."""
    folder = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted((*folder.glob("*.py"), *folder.glob("cpu/*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()
