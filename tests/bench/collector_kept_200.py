"""`collector`, but that a feed of ten levels keeps the book of the 200-level topic.

The configuration names one depth, for keeping and storing; the nearest topic is taken (10 → `orderbook.50`). Cryptofeed
always keeps 200 and stores 10, so for equal work the shallower topic is struck from the list. Nothing else differs.
"""

from __future__ import annotations

from collector.cli import main
from collector.exchanges import bybit_topics

bybit_topics.BOOK_DEPTHS = (1, 200, 1000)  # type: ignore[assignment]

main(prog_name="collector")
