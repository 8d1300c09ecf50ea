"""What can be seen of an input and of its scale, and a card of both for notebooks."""

from rddrs.pictures.cards import card, strip_card
from rddrs.pictures.images import brightness, covariance_map, noise_limits, noise_map, picture, principal_axes
from rddrs.pictures.portraits import portrait

__all__ = [
    "brightness",
    "card",
    "covariance_map",
    "noise_limits",
    "noise_map",
    "picture",
    "portrait",
    "principal_axes",
    "strip_card",
]
