"""`collector simulate`: the exchange simulator as a process of its own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import click
import msgspec

from collector.errors import reports_errors
from collector.settings import Duration
from collector.simulator import SIMULATORS, plants
from collector.simulator.market import generated_symbols
from collector.simulator.server import Options, serve


class DurationParam(click.ParamType[float]):
    """ "500ms", "30s", "5m"; gives seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return Duration.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class SymbolsParam(click.ParamType[list[str]]):
    """Names with commas between, or how many to make up; gives a list."""

    name = "names|count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        if isinstance(value, list):
            return value
        if str(value).isdigit():
            count = int(value)
            if not 1 <= count <= 2000:
                self.fail("the number of symbols must be from 1 to 2000", param, ctx)
            return generated_symbols(count)
        symbols = [symbol.strip() for symbol in str(value).split(",")]
        if not all(symbol.isalnum() and symbol.isascii() for symbol in symbols):
            self.fail(f"{value!r}: symbols are letters and digits, with commas between them", param, ctx)
        if len(set(symbols)) != len(symbols):
            self.fail(f"{value!r} names a symbol twice", param, ctx)
        return symbols


class PlantsParam(click.ParamType[list[str]]):
    """Names with commas between, "all" or "none"; gives a list."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        try:
            return value if isinstance(value, list) else plants.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def run_async(coroutine: Coroutine[Any, Any, None]) -> None:
    """On uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(coroutine)
    else:
        uvloop.run(coroutine)


def stop_signals() -> asyncio.Event:
    """Set by SIGTERM and SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def print_json(line: dict[str, object]) -> None:
    click.echo(msgspec.json.encode(line).decode())


@click.command()
@click.option("--exchange", type=click.Choice(sorted(SIMULATORS)), default="bybit", show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0: any free port.")
@click.option("--symbols", type=SymbolsParam(), default="BTCUSDT,ETHUSDT,SOLUSDT", show_default=True)
@click.option(
    "--rate",
    type=click.FloatRange(0),
    default=1000.0,
    show_default=True,
    help="Messages/s over all symbols. 0: as fast as the clients read.",
)
@click.option("--duration", type=DurationParam(), help="Stop after this long.")
@click.option(
    "--messages", type=click.IntRange(1), help="The market ends after this many messages; the server stays."
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@click.option(
    "--ledger", type=click.Path(dir_okay=False, path_type=Path), help="Write down all that is sent."
)
@click.option("--disconnect-every", type=DurationParam(), help="Cut all connections this often.")
@click.option(
    "--spare", is_flag=True, help="Disconnect, skip and refuse only what another connection has whole."
)
@click.option("--skip-every", type=click.IntRange(2), help="Leave out one book delta in so many.")
@click.option("--refuse-every", type=click.IntRange(2), help="Refuse one subscription in so many.")
@click.option(
    "--plant",
    type=PlantsParam(),
    help='"all", or some of cascade, leadlag, spoof, whale with commas between: they come into a market in which nothing '
    'else stands out. "none": that market alone. The ledger says when and where.',
)
@click.option(
    "--delist-after",
    type=DurationParam(),
    help="Delist the last symbol this long after the first subscription.",
)
@reports_errors
def simulate(
    exchange: str,
    host: str,
    port: int,
    symbols: list[str],
    rate: float,
    duration: float | None,
    messages: int | None,
    seed: int,
    ledger: Path | None,
    disconnect_every: float | None,
    spare: bool,
    skip_every: int | None,
    refuse_every: int | None,
    plant: list[str] | None,
    delist_after: float | None,
) -> None:
    """A simulated exchange that speaks the real wire protocol.

    Prints one line of JSON when it is ready, and another when --messages have been made.
    """
    options = Options(
        exchange=exchange,
        host=host,
        port=port,
        symbols=symbols,
        rate=rate,
        messages=messages or 0,
        seed=seed,
        ledger=ledger,
        disconnect_every=disconnect_every or 0.0,
        spare=spare,
        skip_every=skip_every or 0,
        refuse_every=refuse_every or 0,
        plants=plant,
        delist_after=delist_after or 0.0,
    )
    run_async(_run(options, duration))


async def _run(options: Options, duration: float | None) -> None:
    stop = stop_signals()
    async with serve(options) as simulator:
        print_json(simulator.ready)

        async def announce() -> None:
            await simulator.stopped.wait()
            print_json(
                {"stopped": True, "messages": simulator.messages, "sent": simulator.subscriptions.sent}
            )

        announcing = asyncio.create_task(announce())
        try:
            async with asyncio.timeout(duration):
                await stop.wait()
        except TimeoutError:
            pass
        finally:
            announcing.cancel()
