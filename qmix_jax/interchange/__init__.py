"""Export of trained policies to other frameworks, and import from PyTorch."""
