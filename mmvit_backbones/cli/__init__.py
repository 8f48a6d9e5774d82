"""Subcommands of `mmvit`: one module with `main` per subcommand, and modules that they share.

The package `mmvit` parses their arguments.
"""
