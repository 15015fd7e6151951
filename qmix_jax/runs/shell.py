"""JAX settings inherited from the shell: overridden where possible, else refused in one line.

Keep top-level imports light, see `train`.
"""

import os
import subprocess
import sys

from qmix_jax.errors import ConfigError

# JAX settings under which training fails: the required value and the reason.
_COMPILED = ("not be set", False, "training is compiled")
_UNCHECKED = ("be ignore", "ignore", "JAX does not check what is vmapped; JAX_DEBUG_NANS does")
_NEEDED = {
    **dict.fromkeys(("jax_disable_jit", "jax_no_tracing", "jax_no_execution"), _COMPILED),
    **{f"jax_error_checking_behavior_{kind}": _UNCHECKED for kind in ("nan", "divide", "oob")},
}
# XLA aborts the process on an unknown flag, so a child process checks them.
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
    """Import JAX for a command, with pinned settings, see `pinning`, and the compilation cache enabled.

    For programs, not libraries: this is global to the process. Matplotlib gets its file backend.

    Raises:
        ConfigError: JAX or XLA refuses one of the shell's settings, or training would fail under it.
    """
    _check_xla_flags()
    os.environ["MPLBACKEND"] = "agg"
    try:
        import jax
    except ValueError as error:  # a JAX_* variable with an invalid value
        raise ConfigError(f"JAX refuses the shell's settings: {error}") from None
    from qmix_jax.runs import compilation
    from qmix_jax.training.pinning import SETTINGS

    check_settings()
    for name, value in {**SETTINGS, "jax_transfer_guard": "allow"}.items():  # recorded values are copied to the host
        jax.config.update(name, value)
    compilation.enable_compilation_cache()


def check_settings() -> None:
    """Refuse JAX settings under which training fails.

    Raises:
        ConfigError: naming the variable.
    """
    import jax

    for name, (wanted, value, reason) in _NEEDED.items():
        if getattr(jax.config, name, value) != value:
            raise ConfigError(f"{name.upper()}: must {wanted}: {reason}")


def check_backend() -> None:
    """Start JAX's backend and check that it has devices.

    Raises:
        ConfigError: there are none of the platforms in JAX_PLATFORMS.
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
