"""What happens to an event: steps, prompts, conditions, cost. No I/O of its own."""
