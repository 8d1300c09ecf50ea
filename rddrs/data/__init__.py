"""Where inputs come from, one module a source, and which of them are certified and referred to."""

from rddrs.data.dataset import Dataset
from rddrs.data.digits import digits
from rddrs.data.mnist import mnist
from rddrs.data.rotation import random_rotation
from rddrs.data.toy2d import toy2d

__all__ = ["Dataset", "digits", "mnist", "random_rotation", "toy2d"]
