"""What every command shares: declared flags, and how a program begins and ends. Light of imports."""
