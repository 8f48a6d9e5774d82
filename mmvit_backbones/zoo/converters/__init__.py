"""Converters of the authors' checkpoints to this package's layout, by family."""
