"""Worker process of a comparison: `train.py`, but it ends when the process that started it ends.

`qmix-jax compare` starts it with a pipe as standard input, see `signals.exit_with_parent`.
"""

import sys

from qmix_jax.runs.signals import exit_with_parent
from qmix_jax.train import main

if __name__ == "__main__":
    exit_with_parent()
    sys.exit(main(tied=True))
