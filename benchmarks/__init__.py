"""What Palyra costs: measured, not promised. ``python -m benchmarks``."""
