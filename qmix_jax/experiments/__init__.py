"""Many runs: sweeps and comparisons, planned, trained by processes or as one program, and summarised."""
