"""`rddrs predict file=model.rddrs images=FOLDER`: a table of what a saved classifier answers to images."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.plain import number, place, plain

if TYPE_CHECKING:
    from rddrs import Smoothed
    from rddrs.smoothing import Predictions

TOGETHER = 1 << 24
"""Images are read and answered as many together as make so many numbers, or one by one."""


@plain(file=None, images=None, samples="1000", alpha="1e-3", output="predictions.csv")
def predict(file: str, images: str, samples: str, alpha: str, output: str) -> None:
    """Write a row for each image of the folder, and those below it: class, abstention, counts, p-value."""
    import pandas as pd
    import torch
    from PIL import Image

    from rddrs import load
    from rddrs.files import replacing

    written, draws, level = place("output", output), number("samples", samples, int), number("alpha", alpha, float)
    if not Path(images).is_dir():
        raise ValueError(f"images={images}: there is no such folder")
    smoothed = load(file)
    known = Image.registered_extensions()
    paths = sorted(path for path in Path(images).rglob("*") if path.suffix.lower() in known)
    if not paths:
        raise ValueError(f"images={images}: there are no images in this folder")
    together, rows = max(1, TOGETHER // smoothed.scale.dim), []
    for start in range(0, len(paths), together):
        part = paths[start : start + together]
        inputs = torch.stack([read(path, smoothed) for path in part])
        found = smoothed.predictions(inputs, samples=draws, alpha=level)
        rows += [row(path, at, found, smoothed) for at, path in enumerate(part)]
    with replacing(written) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
    abstained = sum(it["abstained"] for it in rows)
    print(f"{len(rows)} images, {abstained} abstentions at alpha = {level:g}, n = {draws}; written to {output}")


def read(path: Path, smoothed: "Smoothed"):
    """An image as the input of the classifier, read as `data=folder` reads it, and on the nearest point of its grid.

    Raises ValueError where the image has another size or cannot be read, and where the classifier was certified on
    inputs outside of [0, 1], which images are in.
    """
    from PIL import Image

    from rddrs.data.pixels import LARGEST, depth, pixels

    shape, size = tuple(smoothed.card["shape"]), (smoothed.card.get("data") or {}).get("size")
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(f"the classifier takes inputs of shape {shape}, not images [channels, height, width]")
    low, high = smoothed.card.get("range") or (0, 1)
    if low < 0 or high > 1:
        raise ValueError(
            f"the classifier takes inputs from {low:g} to {high:g}, images are in [0, 1]: smoothed.predict"
        )
    try:
        with Image.open(path) as image:
            bits = depth(image)
            found = pixels(image, shape[0] == 1, bits, size)
    except Exception as error:  # whatever the decoders raise
        raise ValueError(f"{path} is no image that can be read: {error}") from error
    if found.shape != shape:
        raise ValueError(f"{path} has {found.shape[2]} x {found.shape[1]} pixels: {shape[2]} x {shape[1]} are needed")
    inputs = found.float() / LARGEST[bits]
    return inputs if smoothed.grid is None else (inputs / smoothed.grid).round() * smoothed.grid


def row(path: Path, place: int, found: "Predictions", smoothed: "Smoothed") -> dict[str, object]:
    """What is written of one image; a class by its name, where it has one."""
    answer, names = int(found.classes[place]), smoothed.card.get("classes")
    return {
        "image": str(path),
        "class": answer,
        "name": names[answer] if names and answer >= 0 else "",
        "abstained": answer < 0,
        "p_value": found.p_values[place].item(),
        **{f"count_{label}": count for label, count in enumerate(found.counts[place].tolist())},
    }
