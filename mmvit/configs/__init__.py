"""Reads and checks configs, and completes them as the frameworks' scripts do."""
