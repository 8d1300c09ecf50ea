"""What a user hands over, checked once at the edge, and what is remembered of a classifier."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from rddrs.noise import owned

Classifier = Callable[[Tensor], Tensor]
"""Maps inputs [n, *shape] to logits [n, k], k >= 2, row by row: an answer is a function of its own input alone.

It depends neither on the other rows of the batch, their number or order, nor on chance, on earlier calls or on other
threads that call at the same time. It may write over what it is handed, which is a copy, and may answer in the same
memory at every call. Its inputs are of float32 or float64, which it may round: `check_contract` tries all this.
"""

REFUSED = ("requires grad", "require grad", "automatic differentiation")
"""What torch says where NumPy, DLPack or `out=` are handed a tensor that needs a gradient."""

PRECISIONS = (torch.float32, torch.float64)
"""What noise can be drawn and added in: the uniform numbers of half precision are biased, and so are its sums."""


def networks_of(classifier: object) -> Iterator[nn.Module]:
    """The networks that a classifier is, or uses and shows.

    Through methods, whatever object they are of, attributes, partial and decorated functions, defaults and closures.
    """
    waiting, seen = [classifier], set[int]()
    while waiting:
        it = waiting.pop()
        if id(it) in seen:
            continue
        seen.add(id(it))
        if isinstance(it, nn.Module):
            yield it
        else:
            waiting += _used(it)


def _used(it: object) -> list[object]:
    """What a callable that is no network uses: networks, and what may use networks in turn."""
    if isinstance(it, MethodType):
        return [it.__self__]
    if isinstance(it, partial):
        return [it.func, *it.args, *it.keywords.values()]
    if isinstance(it, FunctionType):
        found = [cell.cell_contents for cell in it.__closure__ or () if cell != CellType()]  # a cell may be empty yet
        found += [*(it.__defaults__ or ()), *(it.__kwdefaults__ or {}).values()]
        names = [it.__globals__.get(name) for name in it.__code__.co_names]
        return [*filter(_shows, found), *(each for each in names if isinstance(each, nn.Module))]
    return [*filter(_shows, getattr(it, "__dict__", {}).values())]


def _shows(it: object) -> bool:
    return isinstance(it, nn.Module | MethodType | partial | FunctionType)


def held(classifier: Classifier) -> ExitStack:
    """While this context is open the weights do not change: a network that keeps copies of them looks at them once.

    Such a module has a context manager `held`.
    """
    stack = ExitStack()
    for network in networks_of(classifier):
        for module in network.modules():
            if hasattr(module, "held"):
                stack.enter_context(module.held())  # pyright: ignore[reportCallIssue]
    return stack


def check_evaluates(classifier: Classifier) -> None:
    """Raises ValueError for what cannot be called, and for a network in train mode.

    There dropout and batch norm make another classifier every call. One module in train mode is enough, whatever it is:
    which kinds look at the mode cannot be known.
    """
    if not callable(classifier):
        raise ValueError(
            f"classifier: a {type(classifier).__name__} cannot be called: give a function of tensors, "
            "as lambda u: torch.from_numpy(forest.predict_proba(u.numpy()))"
        )
    for network in networks_of(classifier):
        for name, module in network.named_modules():
            if module.training:
                where = f"its module {name} ({type(module).__name__})" if name else type(module).__name__
                raise ValueError(f"classifier: {where} is in train mode: call .eval() on the network first")


def owned_input(x: Float[Tensor, "*shape"], index: int) -> Float[Tensor, "*shape"]:
    """A contiguous copy of an input, of any layout, that no later change of `x` reaches.

    Raises ValueError where it is no tensor of finite floating-point numbers.
    """
    return owned_inputs([x], [index])[0]


def owned_inputs(inputs: Sequence[Tensor], indices: Sequence[int]) -> list[Tensor]:
    """The `owned_input` of each, of one device, which is waited for once."""
    for x, index in zip(inputs, indices, strict=True):
        if not isinstance(x, Tensor):
            raise ValueError(
                f"input {index} is a {type(x).__name__}, not a torch.Tensor: "
                "torch.from_numpy(numpy.ascontiguousarray(x))"
            )
        if not x.is_floating_point():
            raise ValueError(f"input {index} holds {x.dtype}: convert it to floating point, in the units of sigma")
        check_precision(x.dtype, f"input {index}")
    if not torch.isfinite(torch.cat([x.flatten() for x in inputs])).all():
        finite = [bool(torch.isfinite(x).all()) for x in inputs]
        raise ValueError(f"input {indices[finite.index(False)]} holds NaN or infinite entries")
    return [owned(x) for x in inputs]


def check_precision(dtype: torch.dtype, named: str) -> None:
    """Raises ValueError for a precision that noise cannot be drawn and added in without a bias."""
    if dtype not in PRECISIONS:
        raise ValueError(
            f"{named} holds {dtype}, in which noise is biased: give float32, and round inside the classifier "
            "(classifier.precision=bfloat16, or lambda u: network(u.to(torch.bfloat16)))"
        )


def taken(answer: Any) -> Any:
    """The logits of an answer that holds them: its `logits`, as of Hugging Face, or those of a dictionary or tuple.

    A tuple's are its first member. Any other answer is given back as it is.
    """
    if isinstance(answer, Mapping):
        return answer.get("logits", answer)
    if hasattr(answer, "logits"):
        return answer.logits
    return answer[0] if isinstance(answer, tuple) and answer else answer


def logits_of(
    classifier: Classifier, inputs: Float[Tensor, "n *shape"], classes: int | None = None
) -> Float[Tensor, "n k"]:
    """The classifier's answers, `taken` from what holds them; without a gradient where it refuses inputs that need one.

    Raises ValueError where it cannot take these inputs, and where its answers are not logits [n, k], a row an input, of
    at least two classes: of `classes` where earlier answers have told their number.
    """
    try:
        logits = taken(classifier(inputs))
    except (RuntimeError, BufferError) as error:  # of another shape, precision or device than that of its weights
        if inputs.requires_grad and any(each in str(error) for each in REFUSED):
            return logits_of(classifier, inputs.detach(), classes)
        given = f"{inputs.dtype} inputs of shape {list(inputs.shape)} on {inputs.device}"
        advice = "; give a smaller batch (certify.batch)" if out_of_memory(error) else ""
        raise ValueError(f"classifier: it fails on {given}: {error}{advice}") from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(inputs):
        found = f"shape {list(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        found += ": torch.from_numpy(answer)" if isinstance(logits, np.ndarray) else ""
        raise ValueError(f"classifier: it must answer {len(inputs)} inputs with logits [{len(inputs)}, k], not {found}")
    if logits.shape[1] < 2:
        raise ValueError(f"classifier: it answers logits of shape {list(logits.shape)}: at least 2 classes are needed")
    if classes not in (None, logits.shape[1]):
        raise ValueError(f"classifier: it answers {logits.shape[1]} classes after {classes}: they must not change")
    return logits


def out_of_memory(error: Exception) -> bool:
    """Whether the memory of a device or of the machine did not suffice."""
    told = ("out of memory", "allocate memory", "ALLOC_FAILED")  # of CUDA, of torch on a CPU, of cuBLAS and cuDNN
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(each in str(error) for each in told)


def votes(logits: Float[Tensor, "n k"]) -> Int[Tensor, " n"]:
    """The class of every row; k, which is no class, where a row holds NaN."""
    largest, classes = logits.max(dim=1)  # NaN is larger than any number
    return torch.where(largest.isnan(), logits.shape[1], classes)


def tally(votes: Int[Tensor, " n"], total: Int[Tensor, " k"]) -> Int[Tensor, " k"]:
    """Add how often every number is there to the `total`; unlike torch.bincount, without waiting for the device."""
    return total.scatter_add_(0, votes, torch.ones_like(votes))


def check_classes(numbers: Iterable[int]) -> None:
    """Raises ValueError where answers were of different numbers of classes."""
    if len(found := set(numbers)) > 1:
        raise ValueError(f"classifier: it answers {sorted(found)} classes in turn: they must not change")


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
