"""A pytree of arrays as one file of data: NumPy's .npz, never pickled, with zip's CRC-32 of every array."""

import io
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from qmix_jax.settings import DamagedError
from qmix_jax.training.pinning import wrap_key

_LONGEST_HEADER = 1024  # bytes of a .npy member before its numbers


def named_arrays(tree: Any) -> dict[str, np.ndarray]:
    """Every leaf by its path ('learner/params/agents/...') as a copy on the host; typed keys as their numbers.

    Copies, since on a CPU NumPy would look at memory that the next donation gives away. Of a run's several processes,
    all have to call it, and each gets all of every array.
    """
    leaves = jax.tree_util.tree_leaves_with_path(jax.tree.map(_key_data, tree))
    return {_name(path): np.array(whole(leaf)) for path, leaf in leaves}


def whole(leaf: Any) -> Any:
    """An array of which every process holds a part, as NumPy's in all of them; anything else as it is.

    All processes have to call it. For a moment every device holds the whole array.
    """
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated:
        return leaf
    return multihost_utils.process_allgather(leaf, tiled=True)


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays by name.

    Raises:
        OSError: they do not fit on the disk, or the folder cannot be written to.
    """
    # savez swallows nothing, but its file object would be closed a second time, after an error, by the collector.
    with path.open("xb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_arrays(path: Path, template: Any, absent: str | None = None) -> Any:
    """Read back what `save_arrays` wrote, as a pytree like `template`, with NumPy leaves.

    Nothing is read that the template does not announce: names, shapes and dtypes are compared before any memory
    is taken for them.

    Args:
        path: the file.
        template: pytree of `jax.ShapeDtypeStruct`.
        absent: paths that begin with this are not in the file, and are NumPy zeros in the result.

    Raises:
        DamagedError: the file is not a whole one of this shape.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(
        jax.eval_shape(lambda t: jax.tree.map(_key_data, t), template)
    )
    wanted = {_name(path): leaf for path, leaf in leaves}
    stored = [name for name in wanted if absent is None or not name.startswith(absent)]
    try:
        with zipfile.ZipFile(path) as archive:
            if sorted(archive.namelist()) != sorted(f"{name}.npy" for name in stored):
                raise DamagedError("it holds other arrays than this configuration's")
            arrays = {name: _read_member(archive, name, wanted[name]) for name in stored}
    except MemoryError:  # sizes are the configuration's: the file is not to blame
        raise
    except Exception as error:  # zipfile raises all kinds
        raise DamagedError(f"{path.name}: {error}") from None
    filled = [arrays[name] if name in arrays else np.zeros(leaf.shape, leaf.dtype) for name, leaf in wanted.items()]
    return jax.tree.map(_from_numbers, template, jax.tree.unflatten(structure, filled))


def _read_member(archive: zipfile.ZipFile, name: str, wanted: jax.ShapeDtypeStruct) -> np.ndarray:
    info = archive.getinfo(f"{name}.npy")
    size = int(np.prod(wanted.shape, dtype=np.int64)) * wanted.dtype.itemsize
    if info.compress_type != zipfile.ZIP_STORED or not size <= info.file_size <= size + _LONGEST_HEADER:
        raise DamagedError(f"{name} has another size than this configuration's")
    with archive.open(info) as member:
        header, numbers = member.read(info.file_size - size), member.read(size + 1)  # to the end: there is the CRC
    if not _is_header(header, wanted) or len(numbers) != size:
        raise DamagedError(f"{name} has another shape than this configuration's")
    return np.frombuffer(bytearray(numbers), wanted.dtype).reshape(wanted.shape)


def _is_header(header: bytes, wanted: jax.ShapeDtypeStruct) -> bool:
    """Whether NumPy would write these bytes before such an array, but for padding. What they say is not evaluated."""
    expected, descr = io.BytesIO(), np.lib.format.dtype_to_descr(wanted.dtype)
    np.lib.format.write_array_header_1_0(expected, {"descr": descr, "fortran_order": False, "shape": wanted.shape})
    length = int.from_bytes(header[8:10], "little")
    return length == len(header) - 10 and _unpadded(header) == _unpadded(expected.getvalue())


def _unpadded(header: bytes) -> tuple[bytes, bytes]:
    return header[:8], header[10:].rstrip()


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_data(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _from_numbers(template: Any, numbers: np.ndarray) -> Any:
    return wrap_key(jnp.asarray(numbers)) if _is_key(template) else numbers
