"""The subcommands `mmvit config ...`."""
