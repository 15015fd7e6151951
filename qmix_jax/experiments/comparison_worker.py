"""What one of a comparison's processes does: `train.py`, but it ends with the process that started it.

`qmix-jax compare` starts it with a pipe as its standard input, see `signals.end_with_starter`.
"""

import sys

from qmix_jax.runs.signals import end_with_starter
from qmix_jax.train import main

if __name__ == "__main__":
    end_with_starter()
    sys.exit(main(tied=True))
