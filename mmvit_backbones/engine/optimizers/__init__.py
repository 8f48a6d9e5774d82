"""Optimizer settings per layer: rates that decay with depth, and weights without weight decay."""
