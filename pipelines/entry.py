"""The command line's frame: configuration in, one clear message and an exit status out."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

if TYPE_CHECKING:
    from pipelines.prepare import Prepared

CONFIGURATION = Path(__file__).resolve().parents[1] / "conf"


def entry(stage: Callable[["Prepared"], object]) -> Callable[[], None]:
    """The command of a stage. Bad input ends with exit status 2 and one message, Ctrl-C with 130."""

    @hydra.main(version_base="1.3", config_path=str(CONFIGURATION), config_name="config")
    def command(configuration: DictConfig) -> None:
        from safetensors import SafetensorError

        from pipelines.config import SettingsError, load

        try:
            settings = load(configuration)
            from pipelines.prepare import prepare

            stage(prepare(settings))
        except SettingsError as error:
            sys.exit(_say(f"error: {error}", 2))
        except (OSError, SafetensorError) as error:
            sys.exit(_say(f"error: {error}; what was finished is kept: run the same command again to go on", 1))
        except KeyboardInterrupt:
            sys.exit(_say("stopped; what was finished is kept: run the same command again to go on", 130))

    return command


def _say(message: str, status: int) -> int:
    print(message, file=sys.stderr)
    return status
