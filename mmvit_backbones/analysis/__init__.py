"""Functions that compare, measure and draw networks and trained models."""
from .compare import Comparison, compare
from .flops import Flops, Traffic, count_flops, count_traffic
from .runtimes import RuntimeTable, compare_runtimes
from .speed import Benchmark, benchmark, measure_throughput

__all__ = ['Benchmark', 'Comparison', 'Flops', 'RuntimeTable', 'Traffic', 'benchmark', 'compare', 'compare_runtimes',
           'count_flops', 'count_traffic', 'measure_throughput']
