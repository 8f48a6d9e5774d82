"""Shared by the tools: command lines, the setup of a run, checks of its data, measuring."""
