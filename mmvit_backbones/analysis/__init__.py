"""Functions that compare, measure and draw networks and trained models."""
from .compare import Comparison, compare
from .features import FeatureReport, evaluate_features
from .flops import Flops, Traffic, count_flops, count_traffic
from .runtimes import RuntimeTable, compare_runtimes
from .speed import Benchmark, benchmark, measure_throughput

__all__ = ['Benchmark', 'Comparison', 'FeatureReport', 'Flops', 'RuntimeTable', 'Traffic', 'benchmark', 'compare',
           'compare_runtimes', 'count_flops', 'count_traffic', 'evaluate_features', 'measure_throughput']
