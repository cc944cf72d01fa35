"""Beginning a pipeline: what is known of a topic, the files that follow from it, and what its backlog would cost."""
