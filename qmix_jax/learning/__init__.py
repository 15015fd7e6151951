"""The learning side as pure functions of arrays: algorithms, targets, losses, optimisers and updates."""
