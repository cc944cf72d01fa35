"""The outside: model providers, Kafka, the schema registry, prices. Knows nothing of steps or stages."""
