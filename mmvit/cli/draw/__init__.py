"""Arguments of the subcommands `mmvit draw ...`."""
