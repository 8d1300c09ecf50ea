"""Networks that return logits, adapters around them, and their weights on disk."""

from rddrs.models.adapters import Rotated, as_logits
from rddrs.models.lenet import LeNet
from rddrs.models.perceptron import Perceptron
from rddrs.models.weights import digest, load_weights, save_weights

__all__ = ["LeNet", "Perceptron", "Rotated", "as_logits", "digest", "load_weights", "save_weights"]
