"""Measurements of networks and whole models: time, memory and multiply-adds."""
from .contenders import Table
from .flops import Flops, count_flops
from .speed import benchmark

__all__ = ['Flops', 'Table', 'benchmark', 'count_flops']
