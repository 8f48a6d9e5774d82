"""Converters from the authors' checkpoints, one file per family."""
