"""Hooks that OpenMMLab lacks."""
