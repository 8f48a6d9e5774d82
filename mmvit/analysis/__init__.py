"""Functions that compare, measure and draw networks and trained models."""
from .attention import draw_attention
from .comparison import Comparison, Settings, compare
from .features import FeatureReport, evaluate_features
from .flops import Flops, Traffic, count_flops, count_traffic
from .reproduction import Reproduction, reproduce
from .runs import draw_runs
from .serving import serve
from .speed import Benchmark, Table, benchmark, compare_runtimes, measure_throughput
from .windows import draw_windows

__all__ = ['Benchmark', 'Comparison', 'FeatureReport', 'Flops', 'Reproduction', 'Settings', 'Table', 'Traffic',
           'benchmark', 'compare', 'compare_runtimes', 'count_flops', 'count_traffic', 'draw_attention', 'draw_runs',
           'draw_windows', 'evaluate_features', 'measure_throughput', 'reproduce', 'serve']
