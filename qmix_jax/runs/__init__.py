"""The host side of a run: compile, loop over chunks, record, stop and resume."""
