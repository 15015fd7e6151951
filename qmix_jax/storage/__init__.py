"""Files of a run: its folder, settings, logs and checkpoints, written atomically."""
