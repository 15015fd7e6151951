"""A pytree of arrays as one .npz file: never pickled, with a CRC-32 of every array."""

import io
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from qmix_jax.errors import DamagedError
from qmix_jax.training.pinning import wrap_key

_LONGEST_HEADER = 1024  # bytes of a .npy member before its data


def named_arrays(tree: Any) -> dict[str, np.ndarray]:
    """Copy every leaf to the host, by path ('learner/params/agents/...'); typed keys become their data.

    Copies, because on a CPU NumPy would alias memory that the next donation frees. With several processes, all have to
    call it, and each gets all of every array.
    """
    leaves = jax.tree_util.tree_leaves_with_path(jax.tree.map(_key_data, tree))
    return {_name(path): np.array(gather(leaf)) for path, leaf in leaves}


def gather(leaf: Any) -> Any:
    """Gather an array that is sharded over processes as a NumPy array; return anything else unchanged.

    All processes have to call it. Every device temporarily holds the whole array.
    """
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated:
        return leaf
    return multihost_utils.process_allgather(leaf, tiled=True)


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays by name.

    Raises:
        OSError: the disk is full, or the folder is not writable.
    """
    # With our own file object: after an error, the garbage collector would close one of savez a second time.
    with path.open("xb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_arrays(path: Path, template: Any, absent: str | None = None) -> Any:
    """Read what `save_arrays` wrote as a pytree like `template`, with NumPy leaves.

    Names, shapes and dtypes are compared with the template before any memory is allocated.

    Args:
        path: the file.
        template: pytree of `jax.ShapeDtypeStruct`.
        absent: prefix of paths that are not in the file and become zeros in the result.

    Raises:
        DamagedError: the file is damaged or does not match the template.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(
        jax.eval_shape(lambda t: jax.tree.map(_key_data, t), template)
    )
    wanted = {_name(path): leaf for path, leaf in leaves}
    stored = [name for name in wanted if absent is None or not name.startswith(absent)]
    try:
        with zipfile.ZipFile(path) as archive:
            if sorted(archive.namelist()) != sorted(f"{name}.npy" for name in stored):
                raise DamagedError("its arrays are not those of this configuration")
            arrays = {name: _read_member(archive, name, wanted[name]) for name in stored}
    except MemoryError:  # the configuration sets the sizes: the file is not damaged
        raise
    except Exception as error:  # zipfile raises all kinds
        raise DamagedError(f"{path.name}: {error}") from None
    filled = [arrays[name] if name in arrays else np.zeros(leaf.shape, leaf.dtype) for name, leaf in wanted.items()]
    return jax.tree.map(_from_numbers, template, jax.tree.unflatten(structure, filled))


def _read_member(archive: zipfile.ZipFile, name: str, wanted: jax.ShapeDtypeStruct) -> np.ndarray:
    info = archive.getinfo(f"{name}.npy")
    size = int(np.prod(wanted.shape, dtype=np.int64)) * wanted.dtype.itemsize
    if info.compress_type != zipfile.ZIP_STORED or not size <= info.file_size <= size + _LONGEST_HEADER:
        raise DamagedError(f"the size of {name} does not match this configuration")
    with archive.open(info) as member:
        header, numbers = member.read(info.file_size - size), member.read(size + 1)  # to the end: checks the CRC
    if not _is_header(header, wanted) or len(numbers) != size:
        raise DamagedError(f"the shape of {name} does not match this configuration")
    return np.frombuffer(bytearray(numbers), wanted.dtype).reshape(wanted.shape)


def _is_header(header: bytes, wanted: jax.ShapeDtypeStruct) -> bool:
    """Whether these bytes are NumPy's header of such an array, up to padding. The header is not evaluated."""
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
