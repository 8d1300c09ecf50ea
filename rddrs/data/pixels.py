"""Pillow images of every mode as numbers of a known range: bytes, 16-bit numbers, or floating point in [0, 1]."""

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

GREY, DEEP = ("1", "L", "LA"), ("I;16", "I;16L", "I;16B", "I;16N")
COLOUR = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")
LARGEST = {8: 255, 16: 65535, 32: 1.0}
KINDS = {8: np.uint8, 16: np.uint16, 32: np.float32}


def depth(image: Image.Image) -> int:
    """The bits of one of its numbers: 8 (or less), 16, or 32 in floating point.

    Raises ValueError where their range is not known: 32-bit whole numbers, floating-point numbers outside [0, 1].
    """
    if image.mode in (*GREY, *COLOUR):
        return 8
    if image.mode in DEEP or (image.mode == "I" and image.format in ("PNG", "PPM")):  # these end at 65535
        return 16
    if image.mode != "F":
        raise ValueError(f"the range of its mode {image.mode} is not known: save it with 8 or 16 bits")
    low, high = np.min(found := np.asarray(image)), np.max(found)
    if not 0 <= low <= high <= 1:
        raise ValueError(f"its floating-point numbers go from {low:g} to {high:g}: they must lie in [0, 1]")
    return 32


def pixels(image: Image.Image, grey: bool, bits: int, size: int | None = None) -> Tensor:
    """The image, channels first, one or three, as uint8, uint16 or float32 in [0, 1]; `bits` are its own or more.

    What is transparent is laid on white. With `size` the centre is cropped and resized to size x size.
    """
    own = depth(image)
    if image.has_transparency_data and own > 8:  # one grey value; Pillow would clip all others to 8 bits
        found = np.array(image)
        found[found == image.info["transparency"]] = LARGEST[own]
        image = Image.fromarray(found)
    elif image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("F" if own > 8 else "L" if grey else "RGB")
    if size is not None:
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    found = np.array(image) * (LARGEST[bits] / LARGEST[own]) if own != bits else np.array(image)
    found = (found if bits == 32 else np.rint(found)).astype(KINDS[bits])
    found = found.transpose(2, 0, 1) if found.ndim == 3 else np.repeat(found[None], 1 if grey else 3, axis=0)
    return torch.from_numpy(found.copy())
