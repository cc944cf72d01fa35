"""The local stack: real Kafka, schema registry and Postgres without docker, and the model stand-in."""
