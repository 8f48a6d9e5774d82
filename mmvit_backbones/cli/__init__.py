"""Verbs of the command `mmvit`: one module with `get_parser` and `main` per verb, and modules that verbs share."""
