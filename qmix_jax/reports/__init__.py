"""Evaluation of trained policies, and HTML pages about runs, sweeps and comparisons."""
