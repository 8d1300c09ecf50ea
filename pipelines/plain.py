"""Commands that take a few KEY=VALUE pairs and no configuration."""

import signal
import sys
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any


def number(key: str, text: str, kind: Callable[[str], Any]) -> Any:
    """The number, int or float, that a key was given; raises ValueError where it is none."""
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{key}={text}: a {'whole ' if kind is int else ''}number is needed") from None


def place(key: str, file: str) -> Path:
    """Where a file is to be written; raises ValueError, before any work, where it cannot be."""
    if not Path(file).parent.is_dir() or Path(file).is_dir():
        raise ValueError(f"{key}={file}: a file in a folder that is there is needed")
    return Path(file)


def plain(**defaults: str | None) -> Callable[[Callable[..., None]], Callable[[Iterable[str]], None]]:
    """A command of these keys, all of which must be given that have no default.

    What is wrong is one message and exit status 2, Ctrl-C 130, and so is SIGTERM.
    """

    def make(work: Callable[..., None]) -> Callable[[Iterable[str]], None]:
        @wraps(work)
        def command(words: Iterable[str]) -> None:
            told = " ".join(f"{name}={value or name.upper()}" for name, value in defaults.items())
            if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # which would leave what is half written
                signal.signal(signal.SIGTERM, signal.default_int_handler)
            try:
                given = {name: value for name, _, value in (word.partition("=") for word in words)}
                unknown = [name for name in given if name not in defaults]
                missing = [name for name, value in defaults.items() if value is None and not given.get(name)]
                if unknown or missing:
                    wrong = f"{unknown[0]}: there is no such key" if unknown else f"{missing[0]} is needed"
                    raise ValueError(f"{wrong}; usage: rddrs {work.__name__} {told}")
                work(**{**defaults, **given})
            except (OSError, ValueError) as error:
                print(f"error: {error}", file=sys.stderr)
                sys.exit(2)
            except KeyboardInterrupt:
                sys.exit(130)

        return command

    return make
