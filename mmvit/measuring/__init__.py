"""Measurements of networks and trained models: time, memory, multiply-adds and traffic."""
from .flops import Flops, count_flops, count_traffic
from .speed import Benchmark, Table, benchmark, compare_runtimes
from .whole_models import benchmark_models

__all__ = ['Benchmark', 'Flops', 'Table', 'benchmark', 'benchmark_models', 'compare_runtimes', 'count_flops',
           'count_traffic']
