"""Whether this machine, its servers and a pipeline fit: one finding for each thing looked at, with what to do."""
