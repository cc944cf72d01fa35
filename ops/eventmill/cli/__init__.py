"""The `eventmill` command: one file per command group."""
