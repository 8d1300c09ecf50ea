"""Many small questions about one G_C: is its class c at a point, with more than a given probability?

Each is answered by the anytime-valid test of `sequential`, with draws of its own: every chunk has those of a child of
the question's stream, so that an answer depends neither on the number of workers nor on what else is asked. Questions
that are asked together share the network's micro-batches.
"""

import math
import sys
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from scipy.special import rel_entr
from torch import Tensor

from rddrs.noise import Grid, Stream
from rddrs.smoothing.cores import on_single_cores
from rddrs.smoothing.edge import check_classes, held, logits_of, tally, votes
from rddrs.smoothing.sequential import Decision, decide, log_evidence
from rddrs.smoothing.smoothed import SmoothedClassifier

MORE = 8
"""After the first look a question is looked at again after an eighth more draws, or after so many."""


class Question(NamedTuple):
    """Is the class answered at `point` with more than `probability`? False `yes` with at most `alpha`.

    `instead` are how many questions, and of which lower probability, could be asked in its place: it is given up,
    undecided, where these cost fewer draws than are left of it, at the rate of successes so far.
    """

    stream: Stream
    point: Tensor
    probability: float
    alpha: float
    instead: tuple[int, float] | None = None

    def given_up(self, successes: int, drawn: int) -> bool:
        """Whether the draws so far say that it is cheaper to ask the others."""
        if self.instead is None:
            return False
        rate, (many, probability) = (successes + 1) / (drawn + 2), self.instead
        left = _draws(rate, self.probability, self.alpha) - drawn
        return many * _draws(rate, probability, self.alpha) < left


def _draws(rate: float, probability: float, alpha: float) -> float:
    """About how many draws, successes at this rate, answer `yes`: the evidence grows by the divergence of the two."""
    if rate <= probability:
        return math.inf
    return -math.log(alpha) / float(rel_entr(rate, probability) + rel_entr(1 - rate, 1 - probability))


class Answer(NamedTuple):
    """The counts of the classes at the draws of a question, how many these were, and what they decide."""

    counts: tuple[int, ...]
    samples: int
    decision: Decision


class Chunk(NamedTuple):
    """Draws that share a key: their question, by its place, the chunk's number in it, and their number."""

    question: int
    number: int
    rows: int


@lru_cache(maxsize=1 << 12)
def least(probability: float, alpha: float) -> int:
    """The fewest draws, all of them of the class, that answer `yes`: by halving, for the evidence grows with them."""

    def enough(draws: int) -> bool:
        return log_evidence(draws, draws, probability) >= -math.log(alpha)

    few = many = math.ceil(math.log(alpha) / math.log(min(max(probability, 0.5), 1 - sys.float_info.epsilon)))
    while not enough(many):
        few, many = many + 1, 2 * many
    return bisect_left(range(many), True, lo=few, key=enough)


def looks(probability: float, alpha: float, samples: int) -> Iterator[int]:
    """After how many draws a question is looked at: first where `yes` is possible, at last after `samples`."""
    drawn = min(least(probability, alpha), samples)
    while drawn < samples:
        yield drawn
        drawn = min(drawn + max(MORE, drawn // 8), samples)
    yield samples


def ask(
    smoothed: SmoothedClassifier,
    questions: Sequence[Question],
    top: int,
    *,
    samples: int,
    batch: int = 256,
    workers: int = 1,
    drawn: Sequence[int] | None = None,
) -> list[Answer]:
    """Answers the questions about the class `top`, all at the same time, with at most `samples` draws each.

    With `drawn`, the draws of earlier answers, these are drawn again, whatever they decide. The scale must be of the
    device and precision of the points.
    """
    counts: list[Tensor] = [torch.zeros((), dtype=torch.long) for _ in questions]
    spent, chunks = [0] * len(questions), [0] * len(questions)
    decisions: list[Decision] = ["undecided"] * len(questions)
    schedules = [looks(it.probability, it.alpha, samples) for it in questions]
    active, classes = list(range(len(questions))), set[int]()
    while active:
        parts: list[Chunk] = []
        for place in active:
            target = next(schedules[place]) if drawn is None else min(next(schedules[place]), drawn[place])
            for start in range(spent[place], target, batch):
                parts.append(Chunk(place, chunks[place], min(batch, target - start)))
                chunks[place] += 1
            spent[place] = target
        found = count(smoothed, questions, parts, batch=batch, workers=workers)
        check_classes(classes := {*classes, found.shape[1]})
        for part, row in zip(parts, found, strict=True):
            counts[part.question] = counts[part.question] + row
        going = []
        for place in active:
            successes = int(counts[place][top]) if top < found.shape[1] else 0
            question = questions[place]
            decisions[place] = decide(successes, spent[place], question.probability, question.alpha)
            if drawn is not None:
                more = spent[place] < drawn[place]
            else:
                more = spent[place] < samples and decisions[place] == "undecided"
                more = more and not question.given_up(successes, spent[place])
            going += [place] if more else []
        active = going
    answers = zip(counts, spent, decisions, strict=True)
    return [Answer(tuple(row.tolist()), samples, decision) for row, samples, decision in answers]


def count(
    smoothed: SmoothedClassifier,
    questions: Sequence[Question],
    chunks: Sequence[Chunk],
    *,
    batch: int = 256,
    workers: int = 1,
) -> Int[Tensor, "m k"]:
    """How often each class is answered in every chunk, which has at most `batch` draws; NaN is no class.

    Micro-batches are filled in the order of the chunks, and each of the `workers` threads computes on one core, so
    that their number changes no count.
    """
    groups: list[list[Chunk]] = []
    for chunk in chunks:
        if groups and sum(each.rows for each in groups[-1]) + chunk.rows <= batch:
            groups[-1].append(chunk)
        else:
            groups.append([chunk])
    workers = min(workers, len(groups))
    counted = partial(_count, smoothed, questions)
    with held(smoothed.classifier):
        found = on_single_cores(counted, [groups[worker::workers] for worker in range(workers)])
    rows = [found[place % workers][place // workers] for place in range(len(groups))]
    check_classes(part.shape[1] - 1 for part in rows)
    return torch.cat(rows)[:, :-1].cpu()


@torch.inference_mode()
def _count(
    smoothed: SmoothedClassifier, questions: Sequence[Question], groups: list[list[Chunk]]
) -> list[Int[Tensor, "m k1"]]:
    """The counts of the chunks of every micro-batch, those of the votes for no class last."""
    return [_answered(smoothed, questions, group) for group in groups]


def _answered(smoothed: SmoothedClassifier, questions: Sequence[Question], group: list[Chunk]) -> Int[Tensor, "m k1"]:
    scale, sizes = smoothed.scale, [chunk.rows for chunk in group]
    like = questions[group[0].question].point
    z: Float[Tensor, "n d"] = like.new_empty(sum(sizes), like.numel())
    for chunk, rows in zip(group, z.split(sizes), strict=True):
        stream = questions[chunk.question].stream.child(chunk.number)
        smoothed.family.fill(rows, stream.generator(like.device))
    noisy = scale.perturb(torch.zeros_like(like).flatten(), z)
    for chunk, rows in zip(group, noisy.split(sizes), strict=True):
        point = questions[chunk.question].point.flatten()
        if smoothed.grid is None:
            rows.add_(point)
        else:
            Grid(point, scale, smoothed.grid)(rows)
    logits = logits_of(smoothed.classifier, noisy.view(-1, *like.shape))
    width = logits.shape[1] + 1
    owner = torch.arange(len(group)).repeat_interleave(torch.tensor(sizes)).to(like.device)
    total = torch.zeros(len(group) * width, dtype=torch.long, device=like.device)
    return tally(owner * width + votes(logits), total).view(len(group), width)
