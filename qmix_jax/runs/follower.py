"""What stands in the recorder's place in all but the first of a run's processes: it writes nothing."""

import math
from typing import Any

from qmix_jax.runs.loop import Chunk
from qmix_jax.types import Evaluation, Params


class Follower:
    """As `recorder.Recorder`, but it only remembers the latest evaluation."""

    def __init__(self) -> None:
        self.evaluation: Evaluation | None = None

    def start(self, params: Params, state: Any) -> None:
        """The first process writes its first checkpoint now."""

    def record(self, chunk: Chunk) -> None:
        """The first process writes a chunk's rows and checkpoint now."""
        if chunk.evaluation is not None:
            self.evaluation = chunk.evaluation

    def finish(self, params: Params, evaluation: Evaluation) -> None:
        """The first process writes the final model now."""
        self.evaluation = evaluation

    def plot(self, title: str, baseline_return: float = math.nan, baseline_name: str = "baseline") -> None:
        """The first process draws now."""
