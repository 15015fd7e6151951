"""What runs come to: statistics over seeds, summaries, tables and curves."""
