"""How a network is trained under noise, and how C grows with it: the options with their ranges, without Lightning."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from rddrs.methods import Basis, Structure
from rddrs.options import Options

Optimizer = Literal["adam", "sgd"]
Schedule = Literal["constant", "linear", "step", "one_cycle"]


class TrainingOptions(Options):
    """Of one fit: `sgd` has momentum 0.9 and weight decay 5e-4.

    The learning rate stays (`constant`), falls to 0 (`linear`) or to a tenth after each third of the epochs (`step`),
    or rises to `learning_rate` and falls (`one_cycle`). `precision` is that of the network's passes; weights, noise and
    loss stay float32.
    """

    learning_rate: PositiveFloat = 1e-3
    batch: PositiveInt = 128
    optimizer: Optimizer = "adam"
    schedule: Schedule = "constant"
    precision: Literal["float32", "bfloat16"] = "float32"


class CotrainingOptions(TrainingOptions):
    """Of the rounds in which C grows and the network is fine-tuned under it, the last for `last_epochs` epochs.

    A round must leave the share `keep` of the mean radius before the rounds, and makes a noise level grow by the factor
    `growth` at most. `structure` and `basis` say what kind of C.
    """

    rounds: PositiveInt = 6
    round_epochs: PositiveInt = 2
    last_epochs: PositiveInt = 25
    growth: float = Field(default=2.2, gt=1)
    keep: float = Field(default=0.94, gt=0, le=1)
    structure: Structure = "auto"
    basis: Basis = "learned"
