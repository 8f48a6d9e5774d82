"""Measurements of networks and whole models: time, memory and multiply-adds."""
from .flops import Flops, count_flops
from .speed import Table, benchmark

__all__ = ['Flops', 'Table', 'benchmark', 'count_flops']
