"""What people touch: command line, pipeline file, local stack, benchmarks."""
