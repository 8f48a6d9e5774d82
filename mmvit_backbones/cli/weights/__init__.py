"""The subcommands `mmvit weights ...`."""
