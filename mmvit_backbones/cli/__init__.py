"""Subcommands of `mmvit`: one module with `get_parser` and `main` per subcommand, and modules that they share."""
