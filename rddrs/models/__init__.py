"""Networks that return logits, adapters around them, and their weights on disk."""

from rddrs.models.accelerated import Accelerated
from rddrs.models.adapters import Normalized, Rotated, as_logits, bare
from rddrs.models.identity import digest
from rddrs.models.lenet import LeNet
from rddrs.models.perceptron import Perceptron
from rddrs.models.resnet import ResNet
from rddrs.models.small_cnn import SmallCNN
from rddrs.models.weights import load_weights, matching, save_weights
from rddrs.models.zoo import Pretrained, card_of, pretrained, scale_file, weights_file

__all__ = [
    "Accelerated",
    "LeNet",
    "Normalized",
    "Perceptron",
    "Pretrained",
    "ResNet",
    "Rotated",
    "SmallCNN",
    "as_logits",
    "bare",
    "card_of",
    "digest",
    "load_weights",
    "matching",
    "pretrained",
    "save_weights",
    "scale_file",
    "weights_file",
]
