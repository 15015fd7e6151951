"""Sweeps and comparisons: planning, training in processes or as one program, and findings."""
