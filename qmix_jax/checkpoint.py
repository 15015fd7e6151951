"""Parameters on disk, by orbax: whole or not there at all, written while training goes on."""

import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from qmix_jax.types import Params

FINAL = "final_model"
BEST = "best_model"


def checkpoint_name(episodes: int) -> str:
    """Folder of the checkpoint made when so many episodes had finished."""
    return f"checkpoint_ep{episodes}"


class Checkpoints:
    """Writes parameters (NumPy leaves) into a `models` folder, in the background, one save at a time."""

    def __init__(self, models: Path) -> None:
        self._models = models.absolute()
        self._saver: Any = None
        self._replaced: str | None = None  # name whose successor was begun

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Wait until everything is on disk."""
        if self._saver is not None:
            self._settled().close()

    def save(self, name: str, params: Params) -> None:
        """Begin to write `models/<name>`, which must not exist yet."""
        self._settled().save(self._models / name, params)

    def replace(self, name: str, params: Params) -> None:
        """Begin to write `models/<name>`; an old one stays until the new one is whole."""
        self._settled().save(self._models / f"{name}.new", params)
        self._replaced = name

    def _settled(self) -> Any:
        """The saver, after all that was begun is on disk under its name."""
        if self._saver is None:
            self._saver = _make_checkpointer()
        self._saver.wait_until_finished()
        if self._replaced is not None:
            name, self._replaced = self._replaced, None
            current, old = self._models / name, self._models / f"{name}.old"
            if current.exists():
                current.rename(old)
            (self._models / f"{name}.new").rename(current)
            shutil.rmtree(old, ignore_errors=True)
        return self._saver


def load_params(run_directory: str | Path, which: str = FINAL) -> Params:
    """Parameters (NumPy leaves) of a run: 'final_model', 'best_model' or 'checkpoint_ep<N>'.

    Raises:
        FileNotFoundError: the run has no such model.
    """
    path = Path(run_directory).absolute() / "models" / which
    if not path.is_dir():
        raise FileNotFoundError(f"no model at {path}")
    with _make_checkpointer() as checkpointer:
        return checkpointer.restore(path)


def _make_checkpointer() -> Any:
    import orbax.checkpoint  # a second of imports, which the first progress should not wait for

    return orbax.checkpoint.StandardCheckpointer()
