"""What `qmix-jax export` can be told, in the order `--help` shows it."""

from dataclasses import dataclass, fields

from qmix_jax.settings import check_setting, setting
from qmix_jax.storage.output_file import check_output_file

FORMATS = ("safetensors", "npz", "onnx")


@dataclass(frozen=True)
class ExportOptions:
    """Which model is written, and how."""

    format: str = setting(
        "safetensors",
        "safetensors, npz: all networks' parameters by name; onnx: the policy as a program, observations to actions",
        choices=FORMATS,
    )
    checkpoint: str = setting("final", "final, best, or ep<N> for models/checkpoint_ep<N>")
    output: str | None = setting(None, "what to write; the model's name in the run's folder by default", metavar="FILE")

    def __post_init__(self) -> None:
        """Check every option.

        Raises:
            ConfigError: naming the flag, its value and what would be accepted.
        """
        for declared in fields(self):
            check_setting(declared, getattr(self, declared.name))
        check_output_file("output", self.output)
