"""The learner as pure functions of arrays: algorithms, targets, losses, optimisers and updates."""
