"""Results and costs into warehouses: configurations of Kafka Connect's sinks, and the REST API of its workers."""
