"""From pipeline.yaml to the values of eventmill_schemas.pipeline."""
