"""Skipping of non-finite updates: a loss or gradient that is not finite never reaches the parameters."""

import jax
import jax.numpy as jnp

from qmix_jax.types import Array, Faults

QUANTITIES = ("none", "loss", "gradient")  # what `Faults.quantity` indexes
MOST_SKIPPED = 0.1  # fraction of a run's updates; a run that skipped more counts as diverged


def init_faults() -> Faults:
    """Return the counters of a new run."""
    return Faults(skipped=jnp.int32(0), streak=jnp.int32(0), since=jnp.int32(0), quantity=jnp.int32(0))


def skips_too_many(skipped: int, updates: int) -> bool:
    """Whether a finished run counts as diverged for its total of skipped updates."""
    return skipped > MOST_SKIPPED * updates


@jax.named_scope("metrics")
def judge_update(
    faults: Faults, update: Array, loss: Array, grad_norm: Array, max_bad_updates: int
) -> tuple[Array, Faults]:
    """Decide whether to apply an update, and count it if not.

    After `max_bad_updates` bad updates in a row nothing is updated any more, so that the host, which checks after each
    chunk, finds the learner unchanged.

    Args:
        faults: the counters before the update.
        update: int32[], index of the update, from 0.
        loss: float32[].
        grad_norm: float32[], not finite if any element of the gradient is not.
        max_bad_updates: number in a row that ends the run.

    Returns:
        Whether to apply the update, bool[], and the new counters.
    """
    loss_is_bad, gradient_is_bad = ~jnp.isfinite(loss), ~jnp.isfinite(grad_norm)
    usable = ~(loss_is_bad | gradient_is_bad | (faults.streak >= max_bad_updates))
    begins = ~usable & (faults.streak == 0)
    quantity = jnp.where(loss_is_bad, QUANTITIES.index("loss"), QUANTITIES.index("gradient")).astype(jnp.int32)
    counted = Faults(
        skipped=faults.skipped + jnp.where(usable, 0, 1),
        streak=jnp.where(usable, 0, faults.streak + 1),
        since=jnp.where(begins, update, faults.since),
        quantity=jnp.where(begins, quantity, faults.quantity),
    )
    return usable, counted
