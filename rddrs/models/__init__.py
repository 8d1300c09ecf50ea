"""Networks that return logits, adapters around them, and their weights on disk."""

from rddrs.models.accelerated import Accelerated
from rddrs.models.adapters import Normalized, Rotated, as_logits, bare
from rddrs.models.lenet import LeNet
from rddrs.models.perceptron import Perceptron
from rddrs.models.resnet import ResNet
from rddrs.models.small_cnn import SmallCNN
from rddrs.models.weights import digest, load_weights, save_weights

__all__ = [
    "Accelerated",
    "LeNet",
    "Normalized",
    "Perceptron",
    "ResNet",
    "Rotated",
    "SmallCNN",
    "as_logits",
    "bare",
    "digest",
    "load_weights",
    "save_weights",
]
