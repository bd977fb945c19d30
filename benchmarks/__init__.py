"""Benchmarks that a reader can rerun: speed and accuracy, ours and others'."""
