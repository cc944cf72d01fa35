"""The price rows in force, as the independent checker wants them."""

from datetime import UTC, datetime
from pathlib import Path

from eventmill_connectors.pricing import PriceList
from eventmill_schemas.chat import Usage
from eventmill_schemas.pipeline import Pipeline

_MILLION = 10**6


def price_rows(pipeline: Pipeline) -> list[str]:
    """Return MODEL=INPUT,OUTPUT,CACHED (USD per million tokens) for routed models, MODEL=PRICE/h for local ones."""
    prices, now = PriceList(pipeline.prices), datetime.now(UTC)
    kinds = (Usage(_MILLION, 0), Usage(0, _MILLION), Usage(_MILLION, 0, cache_read_tokens=_MILLION))
    rows = []
    for ref in {ref for route in pipeline.routes.values() for ref in route}:
        amounts = [prices.price(ref.provider, ref.model, usage, now).amount for usage in kinds]
        rows.append(f"{ref.model}={','.join(f'{amount:f}' for amount in amounts if amount is not None)}")
    local = [m for m in pipeline.models.values() if m.price_per_hour is not None]
    return rows + [f"{Path(m.path).name}={m.price_per_hour:f}/h" for m in local]
