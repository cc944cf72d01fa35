"""From pipeline.yaml to the values of eventmill_schemas.pipeline."""

from eventmill.config.load import Loaded, load, load_with_lines

__all__ = ["Loaded", "load", "load_with_lines"]
