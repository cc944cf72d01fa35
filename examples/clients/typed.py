"""Send events and read what came of them with eventmill's typed client.

    python typed.py pipeline.yaml verdict
"""

import sys

from eventmill import costs, results

pipeline, stage = sys.argv[1:]
with results(pipeline, stage) as found:
    for result in found:
        print(result.at, result.event_id, dict(result.fields), result.cost)
with costs(pipeline, stage) as attempts:
    spent = sum(attempt.cost for attempt in attempts if attempt.cost is not None)
print(f"{spent} USD")
