"""One run on the host: compiled, looped over, recorded, stopped and resumed."""
