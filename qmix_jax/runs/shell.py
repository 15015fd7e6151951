"""What a command inherits from its shell and JAX reads: worked under where that can be, else refused in one line.

What it imports at the top must stay light, see `train`.
"""

import os
import subprocess
import sys

from qmix_jax.settings import ConfigError

# Settings of JAX under which nothing can be trained: what they must be, and why.
_COMPILED = ("not be set", False, "training is compiled")
_UNCHECKED = ("be ignore", "ignore", "JAX does not check what is vmapped; JAX_DEBUG_NANS does")
_NEEDED = {
    **dict.fromkeys(("jax_disable_jit", "jax_no_tracing", "jax_no_execution"), _COMPILED),
    **{f"jax_error_checking_behavior_{kind}": _UNCHECKED for kind in ("nan", "divide", "oob")},
}
# XLA ends the process where a flag is unknown, so another process asks it.
_READ_XLA_FLAGS = """\
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except ImportError:
    pass
from jaxlib import xla_client
xla_client._xla.CompileOptions()
"""


def prepare_libraries() -> None:
    """Import JAX as a command uses it: its settings pinned, see `pinning`, and compiled programs kept for the next.

    Matplotlib gets the backend that every installation has, as plots are files. All this is global to the process, so
    it is for programs to call, not for libraries.

    Raises:
        ConfigError: JAX or XLA refuses one of the shell's settings, or nothing could be trained under it.
    """
    _check_xla_flags()
    os.environ["MPLBACKEND"] = "agg"
    try:
        import jax
    except ValueError as error:  # a JAX_* variable without a meaning
        raise ConfigError(f"JAX refuses the shell's settings: {error}") from None
    from qmix_jax.runs import compilation
    from qmix_jax.training.pinning import SETTINGS

    check_settings()
    for name, value in {**SETTINGS, "jax_transfer_guard": "allow"}.items():  # what is recorded has to leave the device
        jax.config.update(name, value)
    compilation.enable_compilation_cache()


def check_settings() -> None:
    """Refuse settings of JAX under which nothing can be trained.

    Raises:
        ConfigError: naming the variable.
    """
    import jax

    for name, (wanted, value, reason) in _NEEDED.items():
        if getattr(jax.config, name, value) != value:
            raise ConfigError(f"{name.upper()}: must {wanted}: {reason}")


def check_backend() -> None:
    """Look for JAX's devices, which starts its backend.

    Raises:
        ConfigError: there are none of the kind that JAX_PLATFORMS names.
    """
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        platforms = jax.config.values["jax_platforms"]
        setting = "JAX" if platforms is None else f"JAX_PLATFORMS={platforms}"
        raise ConfigError(f"{setting}: {str(error) or 'finds no devices'}") from None


def _check_xla_flags() -> None:
    flags = os.environ.get("XLA_FLAGS")
    if not flags or "jax" in sys.modules:
        return
    probe = subprocess.run([sys.executable, "-c", _READ_XLA_FLAGS], capture_output=True, text=True, errors="replace")
    unknown = [line.partition("] ")[2] for line in probe.stderr.splitlines() if "XLA_FLAGS" in line]
    if probe.returncode and unknown:
        raise ConfigError(f"XLA_FLAGS={flags}: XLA says: {unknown[0]}")
