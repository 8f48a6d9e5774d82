"""Arguments of the subcommands `mmvit data ...`."""
