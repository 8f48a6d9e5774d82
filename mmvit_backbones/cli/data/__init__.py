"""The subcommands `mmvit data ...`."""
