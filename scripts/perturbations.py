"""The pictures of docs/threats.md: every named perturbation of a photograph and of a digit, as a screen shows it.

python -m scripts.perturbations FOLDER

The photograph is scikit-learn's, the digit the first test input of MNIST in the folder. Images are
clamped to [0, 1] and rounded to 1/255; the severities are examples: a row shows 0, a half, all and twice of one.
"""

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor

from rddrs.data import mnist
from rddrs.report import contact_sheet
from rddrs.threats import PERTURBATIONS, Perturbation

SHOWN = {
    "rotation": 15, "shift": 4, "scale": 0.25, "brightness": 0.2, "contrast": 0.4, "blur": 1.5, "gaussian_noise": 0.1,
    "salt_and_pepper": 0.1, "occlusion": 0.4, "checkerboard": 0.1, "stripes": 0.1, "red_cast": 0.2, "green_cast": 0.2,
    "blue_cast": 0.2, "warmth": 0.15, "coldness": 0.15, "horizontal_ramp": 0.3, "vertical_ramp": 0.3, "vignetting": 0.7,
    "gamma": 0.6, "haze": 0.4, "defocus": 2, "motion_blur": 5, "jpeg_blocks": 0.3,
}  # fmt: skip
HEADINGS = ("the input", "half of it", "a severity", "twice that")


def column(x: Float[Tensor, "c h w"], perturbations: Sequence[Perturbation]) -> Image.Image:
    figure = contact_sheet(x, SHOWN, perturbations, (0.0, 1.0), 1 / 255)
    for axis, heading in zip(figure.axes, HEADINGS, strict=False):
        number = axis.get_title(loc="center").rsplit("\n", 1)[-1]
        axis.set_title(f"{heading}\n{number}", fontsize=8, loc="center", fontweight="normal")
    held = io.BytesIO()
    figure.savefig(held, dpi=90)
    return Image.open(held).convert("RGB")


def sheet(x: Float[Tensor, "c h w"]) -> Image.Image:
    """In two columns."""
    chosen = [it for it in PERTURBATIONS if it.applies(tuple(x.shape))]
    half = (len(chosen) + 1) // 2
    left, right = column(x, chosen[:half]), column(x, chosen[half:])
    both = Image.new("RGB", (left.width + right.width, max(left.height, right.height)), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width, 0))
    return both


def main() -> None:
    photograph = Image.fromarray(load_sample_image("flower.jpg")).crop((90, 0, 517, 427)).resize((128, 128))
    pixels = torch.from_numpy(np.array(photograph)).permute(2, 0, 1).float() / 255
    sheet(pixels).save(Path("docs/perturbations_photograph.jpg"), quality=85)
    sheet(mnist(sys.argv[1]).test_inputs[0]).quantize(64).save(Path("docs/perturbations_digit.png"), optimize=True)


if __name__ == "__main__":
    main()
