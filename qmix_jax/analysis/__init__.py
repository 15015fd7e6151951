"""Aggregated results of several runs: statistics over seeds, summaries, tables and curves."""
