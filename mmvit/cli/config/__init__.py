"""Arguments of the subcommands `mmvit config ...`."""
