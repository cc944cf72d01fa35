"""The typed client: send events to a pipeline, and read what came of them.

`from eventmill import Producer, results`: the package gives these names itself.
"""

from eventmill.client.producer import Producer
from eventmill.client.reading import Records, costs, results
from eventmill.client.records import CostRecord, Result

__all__ = ["CostRecord", "Producer", "Records", "Result", "costs", "results"]
