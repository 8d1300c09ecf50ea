"""What a person sees of work that takes longer than a few seconds."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def progress_bar() -> Progress:
    """A bar with an estimate of the time that is left; none where nobody looks, in a pipe or a file."""
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn(), TimeElapsedColumn())
    columns += (TextColumn("left"), TimeRemainingColumn()) if console.width >= 60 else ()
    return Progress(*columns, console=console, disable=not console.is_terminal)


@contextmanager
def bar_of(total: int, description: str) -> Iterator[Callable[[float], None]]:
    """A bar that is told how much is done."""
    with progress_bar() as progress:
        task = progress.add_task(description, total=total)
        yield lambda done: progress.update(task, completed=done)


def tracked(steps: Sequence[Any], description: str) -> Iterator[Any]:
    """The steps one by one, under a bar with an estimate; it says where they were ended early."""
    with progress_bar() as progress:
        try:
            yield from progress.track(steps, description=description)
        except GeneratorExit:
            if progress.task_ids:
                progress.update(progress.task_ids[0], description=f"{description}: ended early")
            raise
