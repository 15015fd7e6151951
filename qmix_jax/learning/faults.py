"""Updates that must not be made: a loss or gradient that is not finite never reaches the parameters."""

import jax.numpy as jnp

from qmix_jax.types import Array, Faults

QUANTITIES = ("none", "loss", "gradient")  # what `Faults.quantity` counts
MOST_SKIPPED = 0.1  # share of a run's updates; a run that skipped more counts as diverged


def no_faults() -> Faults:
    """The count of a new run."""
    return Faults(skipped=jnp.int32(0), streak=jnp.int32(0), since=jnp.int32(0), quantity=jnp.int32(0))


def skips_too_many(skipped: int, updates: int) -> bool:
    """Whether a run that has ended counts as diverged, though bad updates never came in a row for long enough."""
    return skipped > MOST_SKIPPED * updates


def judge_update(
    faults: Faults, update: Array, loss: Array, grad_norm: Array, max_bad_updates: int
) -> tuple[Array, Faults]:
    """Whether an update may be made, and the count after it.

    After `max_bad_updates` bad ones in a row nothing is updated any more, so that the host, which looks after every
    chunk, finds the learner as it was.

    Args:
        faults: the count before the update.
        update: int32[], number of the update, from 0.
        loss: float32[].
        grad_norm: float32[], not finite where any element of the gradient is not.
        max_bad_updates: how many in a row end the run.

    Returns:
        bool[], and the new count.
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
