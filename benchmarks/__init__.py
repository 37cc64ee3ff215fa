"""What the library costs, beside its rivals. Run as ``python -m benchmarks``."""
