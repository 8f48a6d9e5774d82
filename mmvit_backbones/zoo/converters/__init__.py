"""Layouts of the authors' checkpoints, by family, and of pretrained weights of related networks, by library."""
