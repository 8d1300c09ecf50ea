"""The pipeline: configuration in, library calls; nothing is computed here."""
