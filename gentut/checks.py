"""What a user may pass as numbers: the checks that several chapters share, each with one clear error.

Every function returns its argument as a floating-point tensor, so a list or a numpy array is as good as a tensor. Lists
and whole numbers become float64; a float tensor keeps its type and its device.
"""

import math
import numbers

import torch

from gentut import Error

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 3e-2}


def numbers_of(x, name="x"):
    """The argument as a floating-point tensor without NaN; raises Error for anything else."""
    given = x
    if not torch.is_tensor(x):
        try:
            x = torch.as_tensor(x, dtype=None if hasattr(x, "dtype") else torch.float64)
        except (TypeError, ValueError, RuntimeError):
            raise Error(f"{name} must be numbers, got {type(given).__name__}: {given!r}") from None
    if x.is_complex() or x.dtype == torch.bool:
        raise Error(f"{name} must be real numbers, got {x.dtype}")
    if not x.is_floating_point():
        x = x.double()
    if x.numel() and x.min().isnan():  # NaN is the minimum of all that holds it, and finding it takes no memory
        raise Error(f"{name} holds NaN at {_where(x.isnan())}")
    return x


def probabilities(p, name="p", dim=-1):
    """Distributions along one axis, or along several (dim: a tuple): none negative, each sums to 1.

    The sum may be off by TOLERANCE[dtype]: 1e-9 in float64, 1e-5 in float32, more in half precision. Raises Error with
    the first offending value or sum.
    """
    p = numbers_of(p, name)
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    if p.ndim < len(dims) or any(p.shape[d] == 0 for d in dims):
        raise Error(f"{name} must have at least one outcome along {_axis(dims)}, got the shape {tuple(p.shape)}")
    if p.numel() == 0:
        return p
    if p.min() < 0:
        at = p < 0
        raise Error(f"{name} must not be negative, got {p[at][0].item():g} at {_where(at)}")
    total = p.sum(dims)
    tolerance = TOLERANCE[p.dtype]
    off = ~((total - 1).abs() <= tolerance)
    if off.any():
        place = f" at {_where(off)}" if total.ndim else ""
        raise Error(
            f"{name} must sum to 1 along {_axis(dims)} (tolerance {tolerance:g}), "
            f"it sums to {total[off][0].item():.10g}{place}"
        )
    return p


def positive(x, name="x"):
    """Numbers above 0, finite; raises Error with the first that is not."""
    x = finite(x, name)
    if not (x > 0).all():
        raise Error(f"{name} must be positive, got {x[x <= 0].flatten()[0].item():g}")
    return x


def finite(x, name="x"):
    """Numbers without NaN and infinity; raises Error with the first that is not."""
    x = numbers_of(x, name)
    if not x.isfinite().all():
        raise Error(f"{name} must be finite, got {x[~x.isfinite()].flatten()[0].item():g}")
    return x


def same_shape(p, q, names=("p", "q")):
    """Raises Error unless two tensors have the same shape."""
    if p.shape != q.shape:
        raise Error(f"{names[0]} and {names[1]} must have the same shape, got {tuple(p.shape)} and {tuple(q.shape)}")


def whole(n, name="n", least=0):
    """A whole number of at least `least`; raises Error for anything else (True is no number)."""
    if isinstance(n, bool) or not isinstance(n, numbers.Integral):
        raise Error(f"{name} must be a whole number, got {n!r}")
    if n < least:
        raise Error(f"{name} must be at least {least}, got {n}")
    return int(n)


def log_base(base):
    """log(base), what nats are divided by to get the unit of that base; raises Error unless base is positive and not 1.

    e gives nats, 2 bits, 10 hartleys.
    """
    real = isinstance(base, numbers.Real) and not isinstance(base, bool) and math.isfinite(base)
    if not real or base <= 0 or base == 1:
        raise Error(f"base must be a positive number other than 1 (math.e for nats, 2 for bits), got {base!r}")
    return math.log(base)


def generator(given, device="cpu"):
    """A torch.Generator from a generator or a seed (a whole number); raises Error for anything else."""
    if isinstance(given, torch.Generator):
        return given
    if given is None:
        raise Error("anything random needs a generator or a seed: pass generator=0 or generator=torch.Generator()")
    return torch.Generator(device).manual_seed(whole(given, "generator"))


def _where(mask):
    return list(mask.nonzero()[0].tolist()) if mask.ndim else "its only value"


def _axis(dims):
    return "the last axis" if dims == (-1,) else f"axes {list(dims)}"
