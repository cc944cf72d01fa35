"""Kafka below the stage: transactions, offsets, administration."""
