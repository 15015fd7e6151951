"""Options of `export`, and what it shares with the other commands that read a trained model."""

from dataclasses import dataclass, fields
from typing import Any

from qmix_jax.settings import check_setting, setting
from qmix_jax.storage.output_file import check_output_file

FORMATS = ("safetensors", "npz", "onnx")


def checkpoint_setting() -> Any:
    """Return the field of the model to read."""
    return setting("final", "final, best, or ep<N> for models/checkpoint_ep<N>")


def env_setting() -> Any:
    """Return the field that repeats the --env of a run."""
    return setting(None, "the run's --env, if it is package.module:NAME: no module is imported on a file's word")


def check_options(options: Any, *outputs: str) -> None:
    """Check every option, and that the files of those named in `outputs` can be written.

    Raises:
        ConfigError: naming the flag, its value and what would be accepted.
    """
    for declared in fields(options):
        check_setting(declared, getattr(options, declared.name))
    for name in outputs:
        check_output_file(name, getattr(options, name))


@dataclass(frozen=True)
class ExportOptions:
    """Which model is written, and how, in the order of `--help`."""

    format: str = setting(
        "safetensors",
        "safetensors, npz: all networks' parameters by name; onnx: the policy as a program, observations to actions",
        choices=FORMATS,
    )
    checkpoint: str = checkpoint_setting()
    env: str | None = env_setting()
    output: str | None = setting(None, "file to write; by default the model's name in the run's folder", metavar="FILE")

    def __post_init__(self) -> None:
        """Refuse invalid options, see `check_options`."""
        check_options(self, "output")
