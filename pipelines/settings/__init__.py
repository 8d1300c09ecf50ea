"""The settings: the kinds and ranges of every key, those of the library's own options, and what follows from them."""

from pipelines.settings.certification import Certify
from pipelines.settings.classifier import Classifier, Normalize
from pipelines.settings.groups import Group, Target
from pipelines.settings.settings import MethodChoice, Settings, Shard
from pipelines.settings.training import CovarianceTrain, IsotropicTrain

__all__ = [
    "Certify",
    "Classifier",
    "CovarianceTrain",
    "Group",
    "IsotropicTrain",
    "MethodChoice",
    "Normalize",
    "Settings",
    "Shard",
    "Target",
]
