"""Types and shapes that are checked in the calls of every test, in little of its time.

jaxtyping's own hook binds the arguments of every call and checks them twice, and makes two checks of every function,
also of those that are defined in a call: a fifth to a third of the longest files. Here beartype checks each once, and
of the calls of a function in a test the first `FIRST` and every `EVERY`th: all of them are two fifths of such a file.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import partial, wraps
from inspect import isclass, isfunction, isgeneratorfunction
from types import CodeType
from typing import Any

import jaxtyping

FIRST, EVERY = 10, 100

jaxtyped: Any = jaxtyping.jaxtyped
calls: Counter[CodeType] = Counter()
"""Of every function, since the test began."""


def checked(it: Any = None, *, typechecker: Callable) -> Any:
    """What jaxtyping's hook decorates every function and class with: sizes are remembered through a call."""
    if it is None:
        return partial(checked, typechecker=typechecker)
    if is_dataclass(it) and isclass(it):
        if not hasattr(it.__init__, "__wrapped__"):  # else it is checked: inherited, or written out
            it.__init__ = checked(it.__init__, typechecker=typechecker)
        return it
    if not isfunction(it) or isgeneratorfunction(it):
        return jaxtyped(it, typechecker=typechecker)
    known = {*it.__globals__, *it.__qualname__.split(".")}
    if any(isinstance(hint, str) and hint not in known for hint in it.__annotations__.values()):
        return jaxtyped(it, typechecker=typechecker)  # which believes what it cannot find
    check = typechecker(it)
    if check is it:  # nothing is annotated
        return it

    @wraps(it)
    def called(*args: Any, **kwargs: Any) -> Any:
        calls[it.__code__] += 1
        count = calls[it.__code__]
        if jaxtyping.config.jaxtyping_disable or (count > FIRST and count % EVERY):
            return it(*args, **kwargs)
        with jaxtyped("context"):
            return check(*args, **kwargs)

    return called


def install() -> None:
    """From now on; what has been imported before is not checked."""
    jaxtyping.jaxtyped = checked
    jaxtyping.install_import_hook("rddrs", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")
