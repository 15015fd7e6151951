"""The trainer as pure functions: rollout, replay, updates and evaluation fused in one program."""
