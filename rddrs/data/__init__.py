"""Where inputs come from, one module a source, and which of them are certified and referred to."""

from rddrs.data.arrays import arrays
from rddrs.data.cifar10 import cifar10
from rddrs.data.dataset import Dataset
from rddrs.data.digits import digits
from rddrs.data.doubts import doubts
from rddrs.data.folder import folder
from rddrs.data.inputs import BrokenInput, Inputs, Items, Stored
from rddrs.data.items import items
from rddrs.data.mnist import fashion_mnist, mnist
from rddrs.data.rotation import random_rotation
from rddrs.data.seen import read_anew
from rddrs.data.toy2d import toy2d

__all__ = [
    "BrokenInput",
    "Dataset",
    "Inputs",
    "Items",
    "Stored",
    "arrays",
    "cifar10",
    "digits",
    "doubts",
    "fashion_mnist",
    "folder",
    "items",
    "mnist",
    "random_rotation",
    "read_anew",
    "toy2d",
]
