"""What a certificate is bound to, so that none is taken for one of another classifier, data set or configuration."""

from collections.abc import Mapping
from dataclasses import dataclass

from rddrs.version import __version__


@dataclass(frozen=True)
class Binding:
    """Digests of the classifier, of the data set's content and of the configuration, and the version of the code."""

    classifier: str
    data: str
    configuration: str
    version: str = __version__

    def differences(self, stated: Mapping[str, str]) -> list[str]:
        """The names of the parts that `stated` does not agree with; all of them where it states nothing."""
        return [name for name, value in vars(self).items() if stated.get(name) != value]
