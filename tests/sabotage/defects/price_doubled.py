"""Every reply costs twice its price."""

from dataclasses import replace
from datetime import datetime

from eventmill_connectors.pricing import PriceList
from eventmill_schemas.chat import Usage
from eventmill_schemas.cost import Price

_right = PriceList.price


def _double(self: PriceList, provider: str, model: str, usage: Usage, at: datetime) -> Price:
    price = _right(self, provider, model, usage, at)
    return price if price.amount is None else replace(price, amount=2 * price.amount)


PriceList.price = _double  # type: ignore[method-assign]
