"""The command line's frame: configuration in, one clear message and an exit status out."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from pipelines.errors import JobError, SettingsError
from pipelines.words import explained, readable

if TYPE_CHECKING:
    from pipelines.prepare import Prepared

KEPT = "what was finished is kept: run the same command again to go on"
CONFIGURATION = (Path(__file__).parent / "conf").resolve()


def entry(stage: Callable[["Prepared"], object]) -> Callable[[], None]:
    """The command of a stage. Bad input ends with exit status 2 and one message, Ctrl-C with 130."""

    begun = []

    @hydra.main(version_base="1.3", config_path=str(CONFIGURATION), config_name="config")
    def command(configuration: DictConfig) -> str | None:
        begun.append(True)
        from safetensors import SafetensorError

        from pipelines.config import load
        from rddrs.data import BrokenInput
        from rddrs.files import Unreadable

        try:
            settings = load(configuration)
            check_place(settings.root)
            from pipelines.prepare import prepare
            from rddrs.smoothing import keep_freed_memory

            keep_freed_memory()
            prepared = prepare(settings)
            for note in prepared.notes:
                print(f"note: {note}", file=sys.stderr)
            stage(prepared)
            return prepared.run_folder.name
        except (SettingsError, BrokenInput) as error:
            _fail(f"error: {error}", 2)
        except Unreadable as error:
            _fail(f"error: {error}", 1)
        except (OSError, SafetensorError) as error:
            _fail(f"error: {error}; {KEPT}", 1)
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in ("mlflow", "sqlalchemy"):
                from pipelines.build import is_of_a_user, told

                if not is_of_a_user(error):
                    raise
                _fail(f"error: {told(error)}", 2)
            _fail(f"error: {settings.root / 'mlflow.db'}: {str(error).splitlines()[0]}; {KEPT}", 1)

    def main() -> None:
        os.environ["HYDRA_FULL_ERROR"] = "1"  # its refusals are told here, in one sentence
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, _interrupted)
        words = sys.argv[1:]
        try:
            sys.argv[1:] = readable(words)
        except ValueError as error:
            _usage(str(error))
        try:
            command()
        except KeyboardInterrupt:
            print(f"stopped; {KEPT}", file=sys.stderr)
            sys.exit(130)
        except OSError as error:
            _usage(f"output_root: {error}")
        except Exception as error:  # whatever Hydra raises of a command line, ValueError among it
            if begun or not isinstance(error, HydraException | OmegaConfBaseException | ValueError | TypeError):
                raise
            _usage(explained(error, words, str(CONFIGURATION)))

    return main


def check_place(root: Path) -> None:
    """Raise SettingsError where results cannot be written."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=root):
            pass
    except OSError as error:
        told = f"output_root={root}: {error.strerror}"
        raise SettingsError(f"{told}: a folder that can be written is needed") from error


def _usage(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _interrupted(*_: object) -> None:
    """Ctrl-C lets threads end what they do; a second one, meanwhile, ends the process at once."""

    def at_once(*_: object) -> None:
        os.write(sys.stderr.fileno(), f"\nstopped at once; {KEPT}\n".encode())
        os._exit(130)

    signal.signal(signal.SIGINT, at_once)
    raise KeyboardInterrupt


def _fail(message: str, status: int) -> None:
    """End the command; in a multirun only the job: the others go on, and the sweep's end names it."""
    print(message, file=sys.stderr)
    if HydraConfig.get().mode is RunMode.MULTIRUN:
        raise JobError(message)
    sys.exit(status)
