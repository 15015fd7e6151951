"""Train QMIX on GridWorld25: `python train.py`, the same as `qmix-jax train`."""

import sys
from importlib.util import find_spec

from qmix_jax.train import main

if find_spec("jax") is None:
    sys.exit("train.py: error: this Python has no jax; `make install` puts it into .venv, then `. .venv/bin/activate`")

if __name__ == "__main__":
    sys.exit(main())
