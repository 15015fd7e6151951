"""Environments of other libraries in our contract, and ours in theirs; each module needs the library it names."""
