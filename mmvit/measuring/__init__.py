"""Measurements of networks and whole models: time, memory and multiply-adds."""
from .flops import Flops, count_flops
from .speed import Table, benchmark
from .whole_models import benchmark_models

__all__ = ['Flops', 'Table', 'benchmark', 'benchmark_models', 'count_flops']
