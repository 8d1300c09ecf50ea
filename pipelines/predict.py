"""`rddrs predict file=model.rddrs images=FOLDER`: a table of what a saved classifier answers to images."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

    from rddrs import load
    from rddrs.data.folder import images_below, shown_otherwise
    from rddrs.files import replacing

    written, draws, level = place("output", output), number("samples", samples, int), number("alpha", alpha, float)
    if not 0 < level < 1:
        raise ValueError(f"alpha={alpha}: a number between 0 and 1 is needed")
    if draws < (least := 1 + math.ceil(-math.log2(level))):
        raise ValueError(f"samples={draws}: all are abstentions below {least} draws at alpha = {level}")
    if not Path(images).is_dir():
        raise ValueError(f"images={images}: there is no such folder")
    smoothed = load(file)
    check_card(file, smoothed)
    if smoothed.card.get("range") is None:
        print(f"{file}: its card has no range of inputs: [0, 1], which images are in, is believed to be theirs")
    heads, left = images_below(Path(images))
    if not heads:
        raise ValueError(f"images={images}: there are no images in this folder")
    for told in shown_otherwise(heads, Path(images)):
        print(f"images={images}: {told}")
    paths, together, rows = list(heads), max(1, TOGETHER // smoothed.scale.dim), []
    first = [read(path, smoothed) for path in paths[:together]]
    for path in paths[together:]:  # none of them is answered before all can be read
        read(path, smoothed)
    for start in range(0, len(paths), together):
        part = paths[start : start + together]
        inputs = torch.stack([read(path, smoothed) for path in part] if start else first)
        found = smoothed.predictions(inputs, samples=draws, alpha=level)
        rows += [row(path, at, found, smoothed) for at, path in enumerate(part)]
    with replacing(written) as temporary:
        table = pd.DataFrame(rows, dtype=object)  # files have names of any bytes
        table.to_csv(temporary, index=False, errors="surrogateescape")
    abstained = sum(it["abstained"] for it in rows)
    print(f"{len(rows)} images, {abstained} abstentions at alpha = {level}, n = {draws}; written to {output}")
    if others := [f"{len(files)} {reason}" for reason, files in left.items() if files]:
        print(f"left out: {', '.join(others)}")


def check_card(file: str, smoothed: "Smoothed") -> None:
    """Raise ValueError where the classifier takes no images, or its card says what cannot be of it."""
    import torch

    from rddrs.smoothing import logits_of

    card: Any = smoothed.card
    shape, names, data = map(card.get, ("shape", "classes", "data"))
    limits = [0, 1] if card.get("range") is None else card["range"]
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(f"{file}: the classifier takes inputs of shape {shape}, not images [channels, height, width]")
    with torch.inference_mode():
        count = logits_of(smoothed.classifier, torch.zeros(2, *shape)).shape[1]
    size = data.get("size") if isinstance(data, dict) else data
    listed = isinstance(names, list) and len(names) == count
    pair = isinstance(limits, list) and [type(it) in (int, float) for it in limits] == [True, True]
    for key, value, fits, needed in (
        ("range", limits, pair and limits[0] <= limits[1], "[0, 1], the least and the largest entry of inputs,"),
        ("data", data, size is None or [size, size] == shape[1:], f"null or {{'size': {shape[1]}}}"),
        ("classes", names, names is None or listed, f"null or {count} names"),
    ):
        if not fits:
            mended = f"smoothed.card[{key!r}] = ...; smoothed.save(FILE)"
            raise ValueError(f"{file}: its card has {key}: {value!r}, where {needed} is needed: {mended}")
    if limits[0] < 0 or limits[1] > 1:
        told = f"inputs from {limits[0]:g} to {limits[1]:g}, images are in [0, 1]"
        raise ValueError(f"{file}: the classifier takes {told}: smoothed.predict")


def read(path: Path, smoothed: "Smoothed"):
    """An image as the input of the classifier, read as `data=folder` reads it, and on the nearest point of its grid.

    Raises ValueError where the image has another size or cannot be read.
    """
    from PIL import Image

    from rddrs.data.pixels import LARGEST, depth, pixels

    shape, size = tuple(smoothed.card["shape"]), (smoothed.card.get("data") or {}).get("size")
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
