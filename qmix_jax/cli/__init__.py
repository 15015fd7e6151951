"""Shared by all commands: flags, help, suggestions, and how a command begins and ends. Imports stay light."""
