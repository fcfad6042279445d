"""Benchmarks of the whole service; they measure it from outside, on databases of their own, and are no part of it."""
