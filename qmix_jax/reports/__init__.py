"""A trained policy looked at: scores, replay pages and reports."""
