"""G_C with a body: the classifier that answers what a base classifier answers most often under noise."""

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rddrs.noise import LAST_BLOCK, Family, Grid, Norm, Purpose, Scale, Stream, family_of
from rddrs.options import check_whole
from rddrs.smoothing.contract import check_contract
from rddrs.smoothing.cores import on_single_cores
from rddrs.smoothing.edge import Classifier, check_classes, check_evaluates, held, logits_of, owned_inputs, tally, votes

DRAWS = 128
"""Draws of one input that share a key: what is drawn for it depends neither on the micro-batch nor on other inputs."""

BATCH = 1024
"""Rows that the classifier answers at once, of as many inputs as fit."""


class Block(NamedTuple):
    """Some draws around one input: its place, the number of the block, how many draws."""

    row: int
    number: int
    size: int


@dataclass(frozen=True, eq=False)
class Predictions:
    """What G_C answers to n inputs.

    `classes` are -1 where it abstains, `counts` how often the base classifier answered each class (fewer in sum than
    the samples where it answered NaN), `p_values` those of the test that the first of them is not the most probable.
    """

    classes: Int[Tensor, " n"]
    counts: Int[Tensor, "n k"]
    p_values: Float[Tensor, " n"]


class SmoothedClassifier(nn.Module):
    """G_C: the class that the `classifier` answers most often at x + B z, with a `grid` at its multiples.

    z is of the family of the `norm`, B the factor of the `scale` C that noise is made with. `classifier` maps inputs
    [n, *shape] to logits [n, k]; where it is a torch.nn.Module it is a module of this one. Raises ValueError where it
    is in train mode.
    """

    def __init__(self, classifier: Classifier, scale: Scale, norm: Norm = "l2", grid: float | None = None) -> None:
        super().__init__()
        family_of(norm)  # there is one
        if not isinstance(scale, Scale):
            raise ValueError(f"scale={scale!r}: a scale is needed, as rddrs.Isotropic(0.25, dim)")
        if grid is not None and (isinstance(grid, str | bool) or not 0 < grid < math.inf):
            raise ValueError(f"grid={grid!r}: a finite step above 0 is needed, or None")
        check_evaluates(classifier)
        self.classifier, self.scale = classifier, scale
        self.grid = None if grid is None else float(grid)
        self.norm: Norm = norm
        self.training = False

    @property
    def family(self) -> Family:
        """The family of the noise."""
        return family_of(self.norm)

    def forward(self, inputs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n k"]:
        """The `frequencies` of the classes at 1,000 fresh draws."""
        return self.frequencies(inputs)

    def predict(
        self,
        inputs: Float[Tensor, "n *shape"] | Sequence[Float[Tensor, "*shape"]],
        samples: int = 1000,
        alpha: float = 1e-3,
        seed: int | None = None,
        *,
        batch: int = BATCH,
    ) -> Int[Tensor, " n"]:
        """The class that G_C answers to each input; -1 where `samples` draws cannot tell it at confidence 1 - alpha.

        A class that is answered is not the most probable one with probability at most `alpha`, at each input. Raises
        ValueError as `predictions`, which gives the counts and p-values, too.
        """
        return self.predictions(inputs, samples, alpha, seed, batch=batch).classes

    def predictions(
        self,
        inputs: Float[Tensor, "n *shape"] | Sequence[Float[Tensor, "*shape"]],
        samples: int = 1000,
        alpha: float = 1e-3,
        seed: int | None = None,
        *,
        batch: int = BATCH,
    ) -> Predictions:
        """Classes, counts and p-values: the two-sided binomial test of the most frequent class against the second.

        Draws are those of `counts`. Those at which the classifier answers NaN are votes for no class, which may be
        first or second, too. Raises ValueError for an `alpha` out of range and as `counts`. Source: Cohen et al. 2019,
        algorithm PREDICT; Hung & Fithian 2019.
        """
        from scipy.stats import binom

        if alpha is None or isinstance(alpha, str) or not 0 < alpha < 1:
            raise ValueError(f"alpha must be between 0 and 1, not {alpha!r}")
        counts = self.counts(inputs, samples, seed, batch=batch)
        every = torch.cat([counts, samples - counts.sum(dim=1, keepdim=True)], dim=1)  # the last column: no class
        (first, second), top = every.topk(2).values.unbind(dim=1), every.argmax(dim=1)
        above = binom.sf(first.numpy() - 1, (first + second).numpy(), 0.5)
        p_values = (2 * torch.as_tensor(above, dtype=torch.float64)).clamp_max(1.0)
        answered = (p_values <= alpha) & (top < counts.shape[1])
        return Predictions(torch.where(answered, top, -1), counts, p_values)

    def frequencies(
        self,
        inputs: Float[Tensor, "n *shape"] | Sequence[Float[Tensor, "*shape"]],
        samples: int = 1000,
        seed: int | None = None,
    ) -> Float[Tensor, "n k"]:
        """The share of the draws at which each class was answered, float64: an estimate, nothing is proven of it."""
        return self.counts(inputs, samples, seed).double() / samples

    def counts(
        self,
        inputs: Float[Tensor, "n *shape"] | Sequence[Float[Tensor, "*shape"]],
        samples: int = 1000,
        seed: int | None = None,
        *,
        batch: int = BATCH,
    ) -> Int[Tensor, "n k"]:
        """How often each class is answered at `samples` draws around each input, on the CPU.

        Many inputs share a micro-batch of `batch` rows. Without a `seed` the draws are fresh: an attacker knows those
        of a fixed one. With a seed they depend on it and on the content of the input alone, so that a count depends
        on no other input and on no order (but for the rounding of the network in batches of other sizes). Raises
        ValueError for inputs that are no finite floating-point tensors of the scale's dimension, for one off the grid,
        and for answers that are not logits.
        """
        check_whole(samples=samples, batch=batch)
        samples = int(samples)
        if samples > (most := DRAWS * LAST_BLOCK):
            raise ValueError(f"samples must be at most {most}, not {samples}")
        check_evaluates(self.classifier)
        if len(inputs) == 0:
            raise ValueError("inputs: at least one is needed, [n, *shape]")
        found = owned_inputs(list(inputs), range(len(inputs)))
        if len(shapes := {tuple(it.shape): None for it in found}) > 1:
            raise ValueError(f"inputs of the shapes {', '.join(map(str, shapes))}: one shape is needed")
        x = torch.stack(found)
        if x[0].numel() != self.scale.dim:
            raise ValueError(
                f"inputs of shape {list(x.shape[1:])} have {x[0].numel()} entries, the scale has dimension "
                f"{self.scale.dim}: they must be equal; one input alone is inputs[None]"
            )
        if seed is None:
            seed, keys = int.from_bytes(os.urandom(16), "little"), list(range(len(x)))
        else:
            keys = [_content(row) for row in x.cpu()]
        together = max(1, batch // min(samples, DRAWS))
        calls = range(0, len(x) * -(-samples // DRAWS), together)
        workers = min(len(calls), 1 if x.is_cuda else torch.get_num_threads())
        check_contract(self.classifier, x[0], threads=workers > 1)
        count = partial(self._count, x, self.scale.to(x.device, x.dtype), seed, keys, samples, together)
        with held(self.classifier):
            found = on_single_cores(count, [calls[at::workers] for at in range(workers)])
        check_classes(part.shape[1] - 1 for part in found)
        return torch.stack(found).sum(dim=0)[:, :-1].cpu()

    @torch.inference_mode()
    def _count(
        self,
        x: Float[Tensor, "n *shape"],
        scale: Scale,
        seed: int,
        keys: list[int],
        samples: int,
        together: int,
        calls: range,
    ) -> Int[Tensor, "n k1"]:
        """The counts at all inputs of `together` blocks from each of the `calls` on; those of no class are the last.

        The blocks of the first input come first. They are made here: all of them could fill the memory.
        """
        origin, total, classes = x.new_zeros(scale.dim), x.new_zeros(0, dtype=torch.long), None
        each = -(-samples // DRAWS)
        for call in calls:
            places = [divmod(place, each) for place in range(call, min(call + together, len(x) * each))]
            group = [Block(row, number, min(DRAWS, samples - DRAWS * number)) for row, number in places]
            rows, numbers, sizes = zip(*group, strict=True)
            z = x.new_empty(sum(sizes), scale.dim)
            for row, number, noise in zip(rows, numbers, z.split(sizes), strict=True):
                stream = Stream(seed, keys[row], Purpose.PREDICTION).child(number)
                self.family.fill(noise, stream.generator(x.device))
            owner = torch.tensor(rows).repeat_interleave(torch.tensor(sizes)).to(x.device)
            centers, noise = x.flatten(1)[owner], scale.perturb(origin, z)
            noisy = noise.add_(centers) if self.grid is None else Grid(centers, scale, self.grid)(noise)
            logits = logits_of(self.classifier, noisy.view(-1, *x.shape[1:]), classes)
            if classes is None:
                classes = logits.shape[1]
                total = total.new_zeros(len(x) * (classes + 1))
            tally(owner * (classes + 1) + votes(logits), total)
        return total.view(len(x), -1)

    def extra_repr(self) -> str:
        grid = "" if self.grid is None else f", grid={self.grid:g}"
        return f"scale={self.scale!r}, norm={self.norm!r}{grid}"


def _content(x: Float[Tensor, "*shape"]) -> int:
    """A number that tells the content of an input from that of any other."""
    return int.from_bytes(hashlib.sha256(x.contiguous().numpy().tobytes()).digest()[:16], "little")
