"""What a user hands over, checked once at the edge, and what is remembered of a classifier."""

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from rddrs.noise import owned

Classifier = Callable[[Tensor], Tensor]
"""Maps inputs [n, *shape] to logits [n, k], k >= 2; a row depends on its own input alone."""


def check_evaluates(classifier: Classifier) -> None:
    """Raises ValueError for a network in train mode, where dropout and batch norm make another classifier every call.

    One module in train mode is enough, whatever it is: which kinds look at the mode cannot be known.
    """
    network = classifier.__self__ if isinstance(classifier, MethodType) else classifier
    if isinstance(network, nn.Module):
        for name, module in network.named_modules():
            if module.training:
                where = f"its module {name} ({type(module).__name__})" if name else type(module).__name__
                raise ValueError(f"classifier: {where} is in train mode: call .eval() on the network first")


def owned_input(x: Float[Tensor, "*shape"], index: int) -> Float[Tensor, "*shape"]:
    """A contiguous copy of an input, of any layout, that no later change of `x` reaches.

    Raises ValueError where it is no tensor of finite floating-point numbers.
    """
    if not isinstance(x, Tensor):
        raise ValueError(
            f"input {index} is a {type(x).__name__}, not a torch.Tensor: torch.from_numpy(numpy.ascontiguousarray(x))"
        )
    if not x.is_floating_point():
        raise ValueError(f"input {index} holds {x.dtype}: convert it to floating point, in the units of sigma")
    if not torch.isfinite(x).all():
        raise ValueError(f"input {index} holds NaN or infinite entries")
    return owned(x)


def logits_of(
    classifier: Classifier, inputs: Float[Tensor, "n *shape"], classes: int | None = None
) -> Float[Tensor, "n k"]:
    """The classifier's answers.

    Raises ValueError where it cannot take these inputs, and where its answers are not logits [n, k], a row an input, of
    at least two classes: of `classes` where earlier answers have told their number.
    """
    try:
        logits = classifier(inputs)
    except RuntimeError as error:  # torch's, of another shape, precision or device than that of its weights
        given = f"{inputs.dtype} inputs of shape {list(inputs.shape)} on {inputs.device}"
        raise ValueError(f"classifier: it fails on {given}: {error}") from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(inputs):
        found = f"shape {list(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise ValueError(f"classifier: it must answer {len(inputs)} inputs with logits [{len(inputs)}, k], not {found}")
    if logits.shape[1] < 2:
        raise ValueError(f"classifier: it answers logits of shape {list(logits.shape)}: at least 2 classes are needed")
    if classes not in (None, logits.shape[1]):
        raise ValueError(f"classifier: it answers {logits.shape[1]} classes after {classes}: they must not change")
    return logits


class Known:
    """What is known of each classifier object: a dictionary for as long as the object lives, found by its identity.

    Any callable will do, hashable or not. A bound method, which is a new object at each access, is known by its object
    and function. What cannot be referenced weakly is kept alive, so that no other object can take its identity.
    """

    def __init__(self) -> None:
        self._weak: Any = WeakIdKeyDictionary()
        self._strong: dict[int, tuple[object, dict[Any, dict[Any, Any]]]] = {}

    def of(self, classifier: Classifier) -> dict[Any, Any]:
        """The dictionary of this classifier, empty at first."""
        bound = isinstance(classifier, MethodType)
        holder, function = (classifier.__self__, classifier.__func__) if bound else (classifier, None)
        try:
            functions = self._weak.setdefault(holder, {})
        except TypeError:
            _, functions = self._strong.setdefault(id(holder), (holder, {}))
        return functions.setdefault(function, {})
