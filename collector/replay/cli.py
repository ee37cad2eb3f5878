"""`collector replay`: recordings served as the exchange served them."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import click

from collector.errors import BAD_CONFIG, OperatorError, reports_errors
from collector.replay.recording import Recording, chosen, detect
from collector.replay.server import EXIT_AFTER, Options, serve
from collector.simulator import SIMULATORS
from collector.simulator.cli import DurationParam, print_json, run_async, stop_signals


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--exchange", type=click.Choice(sorted(SIMULATORS)), help="Default: told by the file.")
@click.option(
    "--market", default="", help="Of messages whose connection is not recorded. Default: the venue's first."
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0: any free port.")
@click.option(
    "--speed",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="Multiple of the recorded pace. 0: as fast as the client reads.",
)
@click.option(
    "--settle",
    type=DurationParam(),
    default=1.0,
    show_default=True,
    help="From a client's last subscription to the first message.",
)
@click.option(
    "--ledger", type=click.Path(dir_okay=False, path_type=Path), help="Write down all that is sent."
)
@click.option("--exit-when-done", is_flag=True, help="Exit a second after a client has had everything.")
@reports_errors
def replay(
    files: tuple[Path, ...],
    exchange: str | None,
    market: str,
    host: str,
    port: int,
    speed: float,
    settle: float,
    ledger: Path | None,
    exit_when_done: bool,
) -> None:
    """Serve recordings (files, or the folder of a capture) over the wire protocol that they were recorded from.

    Each client gets the messages of the topics that it subscribes, from the beginning. Prints one line of JSON when
    it is ready; progress goes to stderr.
    """
    files = tuple(chosen(files, exchange or ""))
    wire = SIMULATORS[exchange or detect(files)]
    if market and market not in wire.paths.values():
        raise OperatorError(
            f"replay: --market {market}: {wire.name} has {', '.join(wire.paths.values())}; name one of them",
            BAD_CONFIG,
        )
    recording = Recording(files, wire, market)
    options = Options(host=host, port=port, speed=speed, settle=settle, ledger=ledger)
    run_async(_run(recording, options, exit_when_done))


async def _run(recording: Recording, options: Options, exit_when_done: bool) -> None:
    stop = stop_signals()
    last = 0.0

    def progress(market: str, sent: int, of: int) -> None:
        nonlocal last
        if sent == of or time.monotonic() - last > 1:
            last = time.monotonic()
            print(f"{market}: {sent:,} of {of:,} messages", file=sys.stderr, flush=True)  # noqa: T201

    async with serve(recording, options, progress) as running:
        print_json(running.ready)
        if not exit_when_done:
            await stop.wait()
            return
        done = asyncio.create_task(running.finished.wait())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((done, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            await asyncio.sleep(EXIT_AFTER)
        for task in (done, stopping):
            task.cancel()
