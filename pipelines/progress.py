"""What a person sees of work that takes longer than a few seconds."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def progress_bar() -> Progress:
    """A bar with an estimate of the time that is left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TextColumn("left"), TimeRemainingColumn())


def tracked(steps: Sequence[Any], description: str) -> Iterator[Any]:
    """The steps one by one, under a bar with an estimate; it says where they were ended early."""
    with progress_bar() as progress:
        try:
            yield from progress.track(steps, description=description)
        except GeneratorExit:
            progress.update(progress.task_ids[0], description=f"{description}: ended early")
            raise
