"""Attempts to prove a path wrong: walked again, its statements checked one by one, and attacked along its way."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rddrs.certification import ABSTAIN, Cell, PathCertificate, PathTerms
from rddrs.certification.budgets import budget_of, levels_of
from rddrs.certification.cells import Course, Ruler, needed
from rddrs.certification.certify import are_counts
from rddrs.certification.path_certificate import RULES, PathStatus, severities_of
from rddrs.certification.paths import check_asked, feared, selection
from rddrs.certification.trees import Tree, placed
from rddrs.certification.walks import WAVE
from rddrs.noise import LAST_BLOCK, Purpose, Stream
from rddrs.smoothing import (
    Question,
    SmoothedClassifier,
    ask,
    check_contract,
    check_evaluates,
    decide,
)
from rddrs.trust.path_attack import PathAttack, attack_path


@dataclass(frozen=True)
class PathAudit:
    """What the audit of one path found; `flags` name the ways in which it is broken, empty for an honest one.

    `form`: numbers that no path has; nothing else is looked at then. `input`: another input's path. `terms`: it states
    others than were asked for. `class`: not the one that the selection draws choose. `order`: the tests are not
    numbered from 1 on, or in waves, or took more draws than they may. `level`: a test has another share of alpha than
    its number's or, of the path alone, its cell's. `counts`: they are not those of the keyed draws. `decision`: not the
    one that counts and level give. `radius`: smaller than its cell needs. `ends`: not covered by proven cells without a
    gap, or said to be complete where they are not. `walk`: other cells than those that are asked about. `attack`: an
    image of the path has another class.
    """

    index: int
    name: str
    prediction: int
    count_differences: int
    attack: PathAttack | None
    flags: tuple[str, ...]


def audit_path(
    smoothed: SmoothedClassifier,
    path: PathCertificate,
    x: Float[Tensor, "*shape"],
    *,
    index: int | None = None,
    terms: PathTerms | None = None,
    samples: int = 10_000,
    false_alarm: float = 1e-4,
    tolerance: int = 0,
    seed: int = 0,
    batch: int = 256,
    workers: int = 1,
) -> PathAudit:
    """Tries to break the path that is claimed for the input `x`, number `index`, under `smoothed`.

    All draws are made again, which must give the counts bit for bit on the same machine, the cells of the walk and
    their radii are found again, and images all along the path, with steps of the length of the slack, are attacked:
    the worst of them is judged by `samples` fresh draws, so that a valid path is flagged by that with probability
    `false_alarm` at most. `tolerance` is the number of counts that another machine may round otherwise; the walk is
    then not repeated, which hangs on each of them, nor is that of a path of rounded images of version 0.20.0 or before,
    of which a budget that the terms do not give is believed. `terms` are what was asked for; without them it is
    believed what the path states. Raises ValueError for a network in train mode.
    """
    check_evaluates(smoothed.classifier)
    check_contract(smoothed.classifier, x, threads=workers > 1)
    if not _possible(path):
        return PathAudit(path.index, path.name, path.prediction, 0, None, ("form",))
    path = path.to(x.device)
    stated, flags = PathTerms.of(path), []
    terms = stated if terms is None else terms
    tree = _tree(smoothed, x, terms)
    levels = levels_of(tree, terms.alpha, terms.regions)
    repeated = path.rounding is None or path.rules == RULES
    budget = budget_of(tree, levels, terms.samples) if repeated else path.budget
    terms = replace(terms, budget=terms.budget or budget)
    if not torch.equal(path.x, x) or (index is not None and path.index != index):
        flags.append("input")
    same = path.scale.digest == smoothed.scale.to(x.device, x.dtype).digest
    if not (same and (path.norm, path.grid) == (smoothed.norm, smoothed.grid) and _equal(stated, terms)):
        flags.append("terms")
    path = replace(path, norm=smoothed.norm, grid=smoothed.grid)
    smoothed = SmoothedClassifier(smoothed.classifier, path.scale, smoothed.norm, smoothed.grid)
    stream, sampling = Stream(terms.seed, path.index, Purpose.PATH), {"batch": path.batch, "workers": workers}
    chosen = selection(smoothed, _origin(path), stream, terms.selection_samples, **sampling)
    top = int(torch.tensor(chosen).argmax())
    if path.prediction not in (ABSTAIN, top):
        flags.append("class")
    cells = path.cells
    if not _ordered(path, terms):
        flags.append("order")
    around = [0] * len(cells) if terms.regions else _around(cells)
    if not _levelled(path) or any(it.alpha > levels(it.order, tried) for it, tried in zip(cells, around, strict=True)):
        flags.append("level")
    differences = _distance(chosen, path.selection_counts)
    differences += _differences(smoothed, path, top, terms.samples, stream, sampling)
    flags += ["counts"] if differences > tolerance else []
    if any(cell.decision != _decision(path, cell, top) for cell in cells):
        flags.append("decision")
    if not _radii_hold(path, terms):
        flags.append("radius")
    if not _covered(path):
        flags.append("ends")
    if tolerance == 0 and repeated:
        again = terms.certify(smoothed, x, index=path.index, batch=path.batch, workers=workers)
        flags += [] if _walked_alike(path, again) else ["walk"]
    found = None
    if path.prediction != ABSTAIN:
        keys: dict[str, Any] = {"seed": seed, "batch": batch, "workers": workers}
        found = attack_path(smoothed, path, samples=samples, level=false_alarm, **keys)
        flags += ["attack"] if found.broken else []
    return PathAudit(path.index, path.name, path.prediction, differences, found, tuple(flags))


def contradicted(path: PathCertificate, terms: PathTerms) -> list[str]:
    """The flags that take neither a draw nor geometry: where a path does not follow from its own counts and cells.

    A budget that the terms do not give is believed.
    """
    if not _possible(path):
        return ["form"]
    top, stated = int(torch.tensor(path.selection_counts).argmax()), PathTerms.of(path)
    holds = {
        "terms": _equal(stated, replace(terms, budget=terms.budget or path.budget)),
        "class": path.prediction in (ABSTAIN, top),
        "order": _ordered(path, terms),
        "level": _levelled(path),
        "decision": all(cell.decision == _decision(path, cell, top) for cell in path.cells),
        "ends": _covered(path),
    }
    return [flag for flag, held in holds.items() if not held]


def _possible(path: PathCertificate) -> bool:
    """Whether all numbers are such as `certify_path` may return: in a file any may stand."""
    try:
        low, high = map(severities_of, path.asked)
        check_asked(
            path.perturbations,
            low,
            high,
            path.alpha,
            path.slack,
            path.clamp,
            path.rounding,
            path.unrounded,
            path.regions,
            path.grid,
        )
        cells = [(cell.low, cell.high) for cell in path.cells]
        pairs = [(severities_of(path.low), severities_of(path.high)), *cells]
        whole = [path.test_samples, path.budget, path.selection_samples, path.batch]
        whole += [1 + path.needed, 1 + path.prediction - ABSTAIN]
        whole += [value for cell in path.cells for value in (cell.order, cell.samples)]
        return (
            path.status in get_args(PathStatus)
            and path.rules in range(1 if path.regions else RULES, RULES + 1)
            and all(len(end) == len(path.perturbations) for pair in pairs for end in pair)
            and all(-math.inf < low <= high < math.inf for pair in pairs for low, high in zip(*pair, strict=True))
            and all(low <= 0 <= high for low, high in zip(*pairs[0], strict=True))
            and all(isinstance(value, int) and value >= 1 for value in whole)
            and are_counts(path.selection_counts, path.selection_samples)
            and all(are_counts(cell.counts, cell.samples) for cell in path.cells)
            and all(cell.order <= LAST_BLOCK and 0 < cell.alpha < 1 for cell in path.cells)
            and all(cell.rho >= 0 and path.family.probability(cell.rho) < 1 for cell in path.cells)
        )
    except (TypeError, ValueError, LookupError):  # of what is no number, or none that may be asked for
        return False


def _walked_alike(path: PathCertificate, again: PathCertificate) -> bool:
    """Whether two walks are the same, radii but for their last bits, which hang on what images are made together."""
    claims = [
        ([replace(cell, rho=0.0) for cell in it.cells], it.prediction, it.low, it.high, it.status, it.needed)
        for it in (path, again)
    ]
    radii = [[cell.rho for cell in it.cells] for it in (path, again)]
    return claims[0] == claims[1] and np.allclose(*radii, rtol=1e-9, atol=1e-12)


def _tree(smoothed: SmoothedClassifier, x: Float[Tensor, "*shape"], terms: PathTerms) -> Tree:
    """The tree of cells that the terms lead to."""
    course = Course(feared(terms.perturbation), x, terms.clamp, terms.rounding, terms.unrounded)
    low, high = (tuple(np.ravel(end).tolist()) for end in (terms.low, terms.high))
    scale = smoothed.scale.to(x.device, x.dtype)
    return Tree(course, low, high, x, scale, smoothed.norm, terms.slack, terms.rounding, smoothed.grid)


def _equal(stated: PathTerms, asked: PathTerms) -> bool:
    """Whether two terms ask for the same, perturbations by their names."""
    pairs = [(vars(it) | {"perturbation": [each.name for each in feared(it.perturbation)]}) for it in (stated, asked)]
    ends = [{name: [*np.atleast_1d(it[name]).tolist()] for name in ("low", "high")} for it in pairs]
    return pairs[0] | ends[0] == pairs[1] | ends[1]


def _origin(path: PathCertificate) -> Float[Tensor, "*shape"]:
    """The anchor at 0, where the class is chosen."""
    return path.images_at(torch.zeros(1, len(path.perturbations)))[0]


def _ordered(path: PathCertificate, terms: PathTerms) -> bool:
    """Whether the tests are numbered from 1 on, in waves, and took no more draws than they may."""
    waves = [len([*group]) for _, group in groupby(path.cells, key=lambda cell: cell.wave)]
    ordered = [cell.order for cell in path.cells] == [*range(1, len(path.cells) + 1)]
    within = path.samples <= max(path.budget, terms.selection_samples)
    within &= all(cell.samples <= terms.samples for cell in path.cells)
    return ordered and max(waves, default=0) <= WAVE and within


def _levelled(path: PathCertificate) -> bool:
    """Whether the levels of the tests that may have proven something false have alpha together, at most.

    With the regions these are all tests; of the path alone those of a proven cell and of the cells that hold it, which
    must have been asked about before it, in vain, and no other cell may reach into it.
    """
    if path.regions:
        return sum(cell.alpha for cell in path.cells) <= path.alpha * (1 + 1e-9)
    sides = 1 if len(path.perturbations) > 1 else sum(end != 0 for end in path.asked)
    low, high, levels = (np.array([getattr(it, name) for it in path.cells]) for name in ("low", "high", "alpha"))
    unproven = np.array([not cell.proven for cell in path.cells])
    for place, cell in enumerate(path.cells):
        if cell.proven:
            meets = np.all((low < cell.high) & (high > cell.low), axis=1)
            meets[place] = False
            holds = np.all((low <= cell.low) & (high >= cell.high), axis=1) & unproven
            holds[place:] = False
            if (meets != holds).any() or cell.alpha + levels[holds].sum() > path.alpha / sides * (1 + 1e-9):
                return False
    return True


def _around(cells: Sequence[Cell]) -> list[int]:
    """How many other cells hold each."""
    low, high = (np.array([getattr(it, end) for it in cells]).reshape(len(cells), -1) for end in ("low", "high"))
    return [int(np.all((low <= it.low) & (high >= it.high), axis=1).sum()) - 1 for it in cells]


def _distance(first: Sequence[int], second: Sequence[int]) -> int:
    width = max(len(first), len(second))
    padded = (np.pad(np.array(each), (0, width - len(each))) for each in (first, second))
    return int(np.abs(np.subtract(*padded)).sum())


def _differences(
    smoothed: SmoothedClassifier,
    path: PathCertificate,
    top: int,
    samples: int,
    stream: Stream,
    sampling: dict[str, int],
) -> int:
    """How many draws of the tests are counted otherwise when they are made again, in the same waves."""
    differences = 0
    numbered = zip(path.cells, path.anchors, strict=True)
    for _, group in groupby(numbered, key=lambda each: each[0].wave):
        cells, anchors = zip(*group, strict=True)
        questions = [
            Question(stream.child(cell.order), anchor, path.family.probability(cell.rho), cell.alpha)
            for cell, anchor in zip(cells, anchors, strict=True)
        ]
        drawn = [min(cell.samples, samples) for cell in cells]
        again = ask(smoothed, questions, top, samples=samples, drawn=drawn, **sampling)
        differences += sum(
            _distance(answer.counts, cell.counts) + abs(answer.samples - cell.samples)
            for answer, cell in zip(again, cells, strict=True)
        )
    return differences


def _decision(path: PathCertificate, cell: Cell, top: int) -> str:
    successes = cell.counts[top] if top < len(cell.counts) else 0
    return decide(successes, cell.samples, path.family.probability(cell.rho), cell.alpha)


def _radii_hold(path: PathCertificate, terms: PathTerms) -> bool:
    """Whether every proven cell has at least the radius that it needs."""
    proven = [(cell, anchor) for cell, anchor in zip(path.cells, path.anchors, strict=True) if cell.proven]
    if not proven:
        return True
    cells, anchors = zip(*proven, strict=True)
    course = Course(feared(terms.perturbation), path.x, terms.clamp, terms.rounding, terms.unrounded)
    ruler = Ruler(path.scale, path.norm)
    low, high = (
        torch.tensor([getattr(cell, end) for cell in cells], dtype=torch.float64, device=path.x.device)
        for end in ("low", "high")
    )
    places = torch.stack([placed(anchor, path.grid) for anchor in anchors])
    radii = torch.tensor([cell.rho for cell in cells], dtype=torch.float64, device=path.x.device)
    claimed = (radii - 2 * (ruler.up(radii) - radii) - terms.slack).clamp_min(0)  # less what is added for rounding
    return bool((needed(course, ruler, low, high, places, math.inf, claimed=claimed) + terms.slack <= radii).all())


def _covered(path: PathCertificate) -> bool:
    """Whether the proven cells leave no gap between the ends: no piece between neighbouring edges of theirs.

    And whether it is said to be complete where it is, and a box without its regions has the proportions of what was
    asked: with others it would be false wherever another class is answered, and not only where that is nearest to 0.
    """
    if (path.status == "complete") != path.complete:
        return False
    low, high = np.atleast_1d(path.low), np.atleast_1d(path.high)
    within = all(np.all(np.abs(end) <= np.abs(asked)) for end, asked in zip((low, high), path.asked, strict=True))
    if path.prediction == ABSTAIN:
        return not (low.any() or high.any())
    ends, asked = np.array([low, high]), np.array(path.asked).reshape(2, -1)
    if len(low) > 1 and not path.regions:
        within &= np.allclose(ends, (ends / np.where(asked == 0, np.inf, asked)).max() * asked, rtol=1e-9, atol=0)
    boxes = np.array([[cell.low, cell.high] for cell in path.cells if cell.proven]).reshape(-1, 2, len(low))
    edges = [np.unique([*boxes[:, :, axis].flatten(), low[axis], high[axis]]) for axis in range(len(low))]
    inside = [pieces[(pieces >= start) & (pieces <= end)] for pieces, start, end in zip(edges, low, high, strict=True)]
    painted = np.zeros([len(each) - 1 for each in inside], dtype=bool)
    for box in boxes:
        slices = [slice(*np.searchsorted(each, sides)) for each, sides in zip(inside, box.T, strict=True)]
        painted[tuple(slices)] = True
    return within and painted.size > 0 and bool(painted.all())
