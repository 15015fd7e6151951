"""What a run keeps on disk: its folder, settings, logs and checkpoints, whole or not there."""
