"""What the tools share: command lines, the setup of a run, checks of its data, and measuring."""
