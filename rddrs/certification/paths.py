"""Paths: every change up to a limit, certified as a whole (METHOD section 14).

G_C is one classifier, so that the regions of many anchors together cover what one cannot. A cell of severities is
proven where G_C answers the class, at the cell's anchor, with more than the probability of the radius that holds the
cell; what is not proven is halved.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.certification.budgets import budget_of, levels_of, most_cells, samples_of_box
from rddrs.certification.cells import Course, Severities
from rddrs.certification.path_certificate import Cell, PathCertificate, PathStatus, severities_of
from rddrs.certification.terms import ABSTAIN
from rddrs.certification.trees import Tree
from rddrs.certification.walks import WAVE, Walk
from rddrs.noise import Purpose, Stream
from rddrs.options import check_whole
from rddrs.smoothing import (
    Chunk,
    Question,
    SmoothedClassifier,
    ask,
    check_contract,
    check_evaluates,
    count,
    least,
    owned_input,
)
from rddrs.threats import PERTURBATIONS, SHIFT_DOWN, Perturbation, check_range

Feared = str | Perturbation | Sequence[str | Perturbation]
"""A perturbation or its name, or a pair, the first applied first: "rotation+brightness" is the pair of those names."""


@dataclass(frozen=True)
class PathTerms:
    """What is asked of a path: the arguments of `certify_path` that decide what its certificate is worth."""

    perturbation: Feared
    low: float | Severities
    high: float | Severities
    alpha: float = 1e-3
    slack: float = 0.0
    clamp: tuple[float, float] | None = (0.0, 1.0)
    rounding: float | None = None
    unrounded: bool = True
    regions: bool = True
    samples: int = 20_000
    budget: int | None = None
    selection_samples: int = 100
    seed: int = 0

    def certify(
        self,
        smoothed: SmoothedClassifier,
        x: Float[Tensor, "*shape"],
        *,
        index: int = 0,
        batch: int = 256,
        workers: int = 1,
    ) -> PathCertificate:
        """The certificate of these terms."""
        terms = {each.name: getattr(self, each.name) for each in fields(self)}
        return certify_path(smoothed, x, **terms, index=index, batch=batch, workers=workers)

    @classmethod
    def of(cls, path: PathCertificate) -> "PathTerms":
        """Those that a certificate states itself."""
        names = ("alpha", "slack", "clamp", "rounding", "unrounded", "regions", "budget", "selection_samples", "seed")
        stated = {name: getattr(path, name) for name in names}
        return cls(path.perturbations, *path.asked, samples=path.test_samples, **stated)


def certify_path(
    smoothed: SmoothedClassifier,
    x: Float[Tensor, "*shape"],
    perturbation: Feared,
    low: float | Sequence[float],
    high: float | Sequence[float],
    *,
    alpha: float = 1e-3,
    slack: float = 0.0,
    clamp: tuple[float, float] | None = (0.0, 1.0),
    rounding: float | None = None,
    unrounded: bool = True,
    regions: bool = True,
    samples: int = 20_000,
    budget: int | None = None,
    selection_samples: int = 100,
    seed: int = 0,
    index: int = 0,
    batch: int = 256,
    workers: int = 1,
) -> PathCertificate:
    """Certify that G_C answers one class at every clip(T_t(x)), t from `low` to `high`, low <= 0 <= high.

    `selection_samples` draws at x choose the class. The interval is a tree of cells, taken outward from 0. A cell that
    needs a longer radius at its anchor than is cheap (`longest_radius`) is halved without a draw. Else fresh draws, at
    most `samples`, decide whether the class has more than that radius' probability at the anchor: `yes` proves the
    cell, anything else halves it, down to a least width, where the path ends on that side; a test is given up where its
    halves are cheaper. All that is said together is false with probability `alpha` at most. With its `regions` the
    region of every proven anchor is claimed, too (`contains`), and every test has a share of alpha; of the path alone
    only the tests of cells that hold each other share it (`levels_of`): 0.5 to 0.7 of the draws where all is certified.

    All draws together are at most `budget`, that of the path's length where none is given (`budget_of`), so that a path
    that fails is not dearer than it is worth: where it is spent the path ends, with what is proven until then and the
    status `budget`. A side of 0 where a cell was not proven waits for the other. Its geometry is limited, too: a box
    whose cells take more draws than the budget, which a few places tell before the first test (`samples_of_box`), is
    given up at once, and a walk after as many cells as the budget can pay (`most_cells`), both with the status `cells`.

    Of a pair of perturbations, the first applied first, `low` and `high` are pairs: the cells of the box are taken by
    their distance from 0 in units of its sides, halved along the longer side (in C's norm), and the certified box is
    the largest that has the proportions of the one that is asked for and touches no cell that is not proven.

    With a `rounding` h all entries of the images may be rounded to multiples of h, as in a file; where not the
    `unrounded` ones are asked for, too, all of them are, and an entry that is rounded to the same all over a cell costs
    it nothing. With the grid of `smoothed` anchors lie on it, and the rounding must be a multiple of its step. `slack`
    is a further change delta, of |C^-1 delta| < slack, that the answer withstands all along the path: epsilon /
    min(lambda) for an l2 ball.

    Raises ValueError for arguments out of range, a perturbation without a bound of its variation or for other inputs,
    an input that is not finite float32 or float64, and what is no classifier, as `certify` does.
    """
    if not isinstance(smoothed, SmoothedClassifier):
        told = f"smoothed is a {type(smoothed).__name__}"
        raise ValueError(f"{told}: a rddrs.Smoothed is needed: rddrs.Smoothed(classifier, scale)")
    perturbations = feared(perturbation)
    asked = severities_of(low), severities_of(high)
    check_asked(perturbations, *asked, alpha, slack, clamp, rounding, unrounded, regions, smoothed.grid)
    check_whole(samples=samples, selection_samples=selection_samples, batch=batch, workers=workers)
    check_whole(budget=1 if budget is None else budget)
    check_evaluates(smoothed.classifier)
    x = owned_input(x, index)
    if x.numel() != smoothed.scale.dim:
        raise ValueError(f"x has {x.numel()} entries, the scale has dimension {smoothed.scale.dim}: they must be equal")
    check_contract(smoothed.classifier, x, threads=workers > 1)
    scale = smoothed.scale.to(x.device, x.dtype)  # what is certified is the C that the noise is made with
    certified = SmoothedClassifier(smoothed.classifier, scale, smoothed.norm, smoothed.grid)
    stream = Stream(seed, index, Purpose.PATH)
    course = Course(perturbations, x, clamp, rounding, unrounded)
    tree = Tree(course, *asked, x, scale, smoothed.norm, slack, rounding, smoothed.grid)
    levels = levels_of(tree, alpha, regions)
    budget = budget or budget_of(tree, levels, samples)
    chosen = selection(certified, tree.origin, stream, selection_samples, batch=batch, workers=workers)
    top, cells, left = int(torch.tensor(chosen).argmax()), [], budget - selection_samples
    needed = samples_of_box(tree, levels) if len(perturbations) > 1 else 0
    walk, width = Walk(tree, 0 if needed > left else most_cells(tree, budget, levels)), 1
    while nodes := walk.ready(min(width, max(1, left // samples))):
        first, wave = len(cells) + 1, 1 + (cells[-1].wave if cells else 0)
        questions = [
            tree.question(node, stream.child(order), levels(order, node.tried))
            for order, node in enumerate(nodes, first)
        ]
        if left < min(samples, least(questions[0].probability, questions[0].alpha)):
            walk.stop()
            break
        answers = ask(certified, questions, top, samples=min(samples, left), batch=batch, workers=workers)
        for question, node, answer in zip(questions, nodes, answers, strict=True):
            cells.append(Cell(*node.severities, node.rho, question.alpha, len(cells) + 1, wave, *answer))
        left -= sum(answer.samples for answer in answers)
        proven = [answer.decision == "yes" for answer in answers]
        walk.tell(proven)
        width = min(2 * width, WAVE) if all(proven) else 1
    ends = walk.ends
    spent: PathStatus = "cells" if walk.exhausted else "budget" if nodes or left < samples else "unproven"
    nothing = not any(map(any, ends))
    return PathCertificate(
        x=x,
        scale=scale,
        perturbations=perturbations,
        prediction=ABSTAIN if nothing else top,
        low=_scalar(ends[0]),
        high=_scalar(ends[1]),
        asked=(_scalar(asked[0]), _scalar(asked[1])),  # pyright: ignore[reportArgumentType]
        cells=tuple(cells),
        selection_counts=chosen,
        status="complete" if ends == asked else spent,
        alpha=alpha,
        slack=slack,
        clamp=clamp,
        rounding=rounding,
        unrounded=unrounded,
        regions=regions,
        test_samples=samples,
        budget=budget,
        needed=needed if walk.exhausted else 0,
        selection_samples=selection_samples,
        seed=seed,
        index=index,
        batch=batch,
        norm=smoothed.norm,
        grid=smoothed.grid,
    )


def feared(perturbation: Feared) -> tuple[Perturbation, ...]:
    """The one or two perturbations that are meant; raises ValueError for an unknown name."""
    named = {it.name: it for it in (*PERTURBATIONS, SHIFT_DOWN)}
    parts = perturbation.split("+") if isinstance(perturbation, str) else perturbation
    parts = [parts] if isinstance(parts, Perturbation) else list(parts)
    for part in parts:
        if isinstance(part, str) and part not in named:
            raise ValueError(f"perturbation: there is no {part}: {', '.join(named)} are known")
    if len(parts) not in (1, 2):
        raise ValueError(f"perturbation: one or a pair of two is needed, not {len(parts)}")
    return tuple(named[part] if isinstance(part, str) else part for part in parts)


def selection(
    smoothed: SmoothedClassifier, point: Float[Tensor, "*shape"], stream: Stream, samples: int, batch: int, workers: int
) -> tuple[int, ...]:
    """The counts of the draws that choose the class: those of the path's test with the number 0."""
    question = Question(stream.child(0), point, 0.5, 0.5)
    chunks = [Chunk(0, place, min(batch, samples - start)) for place, start in enumerate(range(0, samples, batch))]
    return tuple(count(smoothed, [question], chunks, batch=batch, workers=workers).sum(dim=0).tolist())


def check_asked(
    perturbations: Sequence[Perturbation],
    low: Severities,
    high: Severities,
    alpha: float,
    slack: float,
    clamp: tuple[float, float] | None,
    rounding: float | None,
    unrounded: bool,
    regions: bool,
    grid: float | None,
) -> None:
    """Raises ValueError for arguments out of range."""
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1, not {alpha}")
    if not 0 <= slack < math.inf:
        raise ValueError(f"slack must be finite and not negative, not {slack}")
    check_range(clamp, rounding)
    for name, value in {"unrounded": unrounded, "regions": regions}.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be True or False, not {value!r}")
    if not (unrounded or rounding):
        raise ValueError("unrounded=False needs a rounding: the step that images are rounded to, 1/255")
    if rounding and grid and not (rounding / grid > 0.5 and abs(rounding / grid - round(rounding / grid)) < 1e-9):
        raise ValueError(f"rounding={rounding:.9g} must be a multiple of the step of the grid, {grid:.9g}")
    if not len(low) == len(high) == len(perturbations):
        raise ValueError(f"low and high must have {len(perturbations)} ends each, not {low} and {high}")
    for it, start, end in zip(perturbations, low, high, strict=True):
        if not (-math.inf < start <= 0 <= end < math.inf and start < end):
            raise ValueError(f"{it.name}: low <= 0 <= high and low < high are needed, not {start:g} and {end:g}")
        if start < 0 and not it.two_sided:
            raise ValueError(f"{it.name} has no negative severities: low must be 0, not {start:g}")


def _scalar(ends: Severities) -> float | Severities:
    return ends[0] if len(ends) == 1 else ends
