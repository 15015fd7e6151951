"""Train QMIX on GridWorld25: `python train.py --num_envs 512`; `--help` explains every flag."""

import sys

from qmix_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
