"""Strictness for every test: no silent rank or dtype promotion, no key used twice, no warning ignored."""

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_num_cpu_devices", 4)  # to check runs over several devices; others use the first
