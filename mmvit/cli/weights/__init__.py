"""Arguments of the subcommands `mmvit weights ...`."""
