"""Stands in for OmegaConf: JaxMARL's scripts print their settings with it."""

from typing import Any


class OmegaConf:
    """The one function that they call where nothing is saved."""

    @staticmethod
    def to_yaml(settings: Any) -> str:
        """Format settings to be printed."""
        return repr(settings)
