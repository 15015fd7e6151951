"""Trained policies for other frameworks, and theirs for this one."""
