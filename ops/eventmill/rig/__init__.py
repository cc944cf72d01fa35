"""What surrounds a pipeline in the demo, the acceptance run and the benchmarks: servers, a model, commands, a judge."""
