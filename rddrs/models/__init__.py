"""Networks that return logits, adapters around them, and their weights on disk."""

from rddrs.models.accelerated import Accelerated, Precision
from rddrs.models.adapters import Logits, Normalized, Output, Rotated, as_logits, bare
from rddrs.models.artefacts import Artefact, Exported, Onnx, OpenVino, Scripted, artefact
from rddrs.models.deployed import Deployed, Runtime, deployed_in
from rddrs.models.identity import digest
from rddrs.models.lenet import LeNet
from rddrs.models.perceptron import Perceptron
from rddrs.models.programs import without_modes
from rddrs.models.quantisation import as_onnx, quantised
from rddrs.models.resnet import ResNet
from rddrs.models.saved import read as read_smoothed
from rddrs.models.saved import write as write_smoothed
from rddrs.models.small_cnn import SmallCNN
from rddrs.models.weights import load_weights, matching, save_weights
from rddrs.models.zoo import Pretrained, card_of, pretrained, scale_file, weights_file

__all__ = [
    "Accelerated",
    "Artefact",
    "Deployed",
    "Exported",
    "LeNet",
    "Logits",
    "Normalized",
    "Onnx",
    "OpenVino",
    "Output",
    "Perceptron",
    "Precision",
    "Pretrained",
    "ResNet",
    "Rotated",
    "Runtime",
    "Scripted",
    "SmallCNN",
    "artefact",
    "as_logits",
    "as_onnx",
    "bare",
    "card_of",
    "deployed_in",
    "digest",
    "load_weights",
    "matching",
    "pretrained",
    "quantised",
    "read_smoothed",
    "save_weights",
    "scale_file",
    "weights_file",
    "without_modes",
    "write_smoothed",
]
