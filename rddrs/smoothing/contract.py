"""What a classifier must keep to be certified, tried on a few inputs before its answers are counted.

A certificate speaks of a function of one input. Answers that hang on the other rows of a micro-batch, on chance, on
earlier calls or on another thread are of no such function, and their counts would prove what is false.
"""

from collections.abc import Iterator
from functools import partial
from math import inf
from threading import Lock, current_thread, main_thread

import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.smoothing.cores import is_alone, on_single_cores
from rddrs.smoothing.edge import Classifier, Known, logits_of, networks_of

ROWS, KEPT = 8, 2
"""The rows of the batch that is tried, and how many of them stay when the others are replaced."""

THREADS, ROUNDS = 2, 12

ROUNDING, LOW_PRECISION, SAME = 1e-3, 0.05, 1e-5
"""How far answers may differ, as a share of the logits that decide, where another number of rows or another place among
them lets a float32 network, or one of half precision, round otherwise; and where nothing does."""

RULE = "an answer must depend on its own input alone, or nothing is proven"

_tried = Known()


def check_contract(classifier: Classifier, x: Float[Tensor, "*shape"], threads: bool = False) -> None:
    """Raises ValueError where answers depend on other rows, on chance, or, in `threads`, on which of them asks.

    Tried on rows around `x`, once for a classifier object and a kind of input. A row is compared with itself in the
    same place among other rows, which leaves no room for rounding, in another place, and alone. Two threads ask at once
    where there are `threads`, or this is one of several: neither the main thread nor the only one of a pool. A
    classifier may change what it is handed, and may answer in the same memory at every call. Not every breach can be
    found in this way.
    """
    threads = threads or not (current_thread() is main_thread() or is_alone())
    known, key = _tried.of(classifier), (tuple(x.shape), x.dtype, x.device)
    with known.setdefault(Lock, Lock()):  # its own: it may ask other classifiers, which are tried then
        if key not in known:
            on_single_cores(partial(_check_rows, classifier), [_rows(x)])
            known[key] = True
        if threads and (key, THREADS) not in known:
            _check_threads(classifier, _rows(x))
            known[key, THREADS] = True


def _rows(x: Float[Tensor, "*shape"]) -> Float[Tensor, "n *shape"]:
    source = torch.Generator().manual_seed(0)
    noise = torch.randn(ROWS, *x.shape, generator=source, dtype=x.dtype).to(x.device)
    return x + noise * (x.abs().max().item() or 1.0) / 2


def _answers(
    classifier: Classifier, rows: Float[Tensor, "n *shape"], classes: int | None = None
) -> Float[Tensor, "n k"]:
    """Logits that no later call can change, of rows that the classifier may change."""
    return logits_of(classifier, rows.clone(), classes).clone()


@torch.inference_mode()
def _check_rows(classifier: Classifier, rows: Float[Tensor, "n *shape"]) -> None:
    logits = _answers(classifier, rows)
    answers = partial(_answers, classifier, classes=logits.shape[1])
    if not _agree(logits, answers(rows), SAME):
        raise ValueError(
            "classifier: it answers one input differently each time (dropout, random or remembered numbers): "
            f"{RULE}; turn what is random off"
        )
    for others in _companions(rows[KEPT:]):
        if not _agree(logits[:KEPT], answers(torch.cat([rows[:KEPT], others]))[:KEPT], SAME):
            raise ValueError(
                "classifier: its answer to a row changes with the other rows of the batch (statistics of the batch, a "
                f"normalisation layer that trains, dynamic quantisation): {RULE}; use fixed statistics and scales"
            )
    tolerance = LOW_PRECISION if _rounds_to_half(classifier, logits) else ROUNDING
    if not _agree(logits, answers(rows.flip(0)).flip(0), tolerance):
        raise ValueError(f"classifier: its answer to a row changes with the row's place in the batch: {RULE}")
    for row in (0, len(rows) - 1):
        try:
            alone = answers(rows[row : row + 1])
        except Exception as error:
            raise ValueError(f"classifier: it fails on a batch of one input: {error}; {RULE}") from error
        if not _agree(logits[row : row + 1], alone, tolerance):
            raise ValueError(f"classifier: it answers an input alone otherwise than in a batch: {RULE}")


def _companions(rows: Float[Tensor, "n *shape"]) -> Iterator[Float[Tensor, "n *shape"]]:
    """Other rows in their place."""
    yield torch.zeros_like(rows)
    yield -3 * rows
    yield 100 * rows + 1


def _check_threads(classifier: Classifier, rows: Float[Tensor, "n *shape"]) -> None:
    """Every thread has rows of its own, which it must be answered as it is without the others."""
    batches = rows.split(ROWS // THREADS)

    def answers_to(batch: Tensor, rounds: int) -> list[Tensor]:
        with torch.inference_mode():
            return [_answers(classifier, batch) for _ in range(rounds)]

    expected = [on_single_cores(partial(answers_to, rounds=1), [batch])[0][0] for batch in batches]
    found = on_single_cores(partial(answers_to, rounds=ROUNDS), batches)
    for logits, answers in zip(expected, found, strict=True):
        if not all(_agree(logits, each, SAME) for each in answers):
            raise ValueError(
                "classifier: two threads that call it at once get other answers than one (a session, a buffer or "
                f"activations that it keeps on itself, a setting of one thread): {RULE}; give each thread its own, "
                "or use one worker"
            )


def _agree(first: Float[Tensor, "n k"], second: Float[Tensor, "n k"], tolerance: float) -> bool:
    """Whether logits are the same up to a share of the largest that may decide, the first two of a row.

    Others, as the -1e9 of a class that is masked, have no say in it: they may differ by a share of themselves.
    """
    first, second = first.double(), second.double()
    deciding = first.masked_fill(~first.isfinite(), -inf).topk(2).values.nan_to_num(0, 0, 0).abs().max().item()
    near = (first - second).abs() <= tolerance * first.nan_to_num(0, 0, 0).abs().clamp_min(deciding)
    return bool((near | (first == second) | (first.isnan() & second.isnan())).all())


def _rounds_to_half(classifier: Classifier, logits: Float[Tensor, "n k"]) -> bool:
    """Whether weights are of half precision, or the logits could be."""
    halves = (torch.bfloat16, torch.float16)
    if any(tensor.dtype in halves for network in networks_of(classifier) for tensor in network.parameters()):
        return True
    return any(torch.equal(logits, logits.to(half).to(logits.dtype)) for half in halves)
