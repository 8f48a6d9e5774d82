"""The subcommands `mmvit draw ...`."""
