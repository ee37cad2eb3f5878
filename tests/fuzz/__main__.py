"""`python -m tests.fuzz`: the long form. Exit 1 at the first violations, with what reproduces each."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import click

from collector.encode import RowEncoder
from tests.fuzz.decoders import Counts, fuzz
from tests.fuzz.invariants import Violation
from tests.fuzz.segments import fuzz_segment
from tests.fuzz.venues import RECORDINGS, recorded

SHOWN = 5
"""Violations after which it stops."""


@click.command()
@click.option("--messages", type=click.IntRange(1), default=1_000_000, show_default=True, help="mutated ones")
@click.option(
    "--segments", type=click.IntRange(0), default=20_000, show_default=True, help="of the journal, mutated"
)
@click.option(
    "--seed", type=click.IntRange(0), help="the first; each session has the next [default: by the clock]"
)
@click.option("--only", is_flag=True, help="the session of --seed alone: to reproduce a violation")
def main(messages: int, segments: int, seed: int | None, only: bool) -> None:
    """Mutated messages for every decoder, mutated segments for the journal's reader."""
    first = time.time_ns() // 10**6 % 10**9 if seed is None else seed
    if not recorded():
        click.echo(f"no recordings in {RECORDINGS}: simulated messages only", err=True)
    counts, encoder, found = Counts(), RowEncoder(), 0
    started = shown = time.monotonic()
    number = first
    while counts.messages < messages and found < SHOWN:
        try:
            fuzz(number, counts, encoder)
        except Violation as violation:
            found += 1
            click.echo(f"VIOLATION {violation}", err=True)
        number += 1
        if time.monotonic() - shown > 5:
            shown = time.monotonic()
            click.echo(f"{counts.messages:,} of {messages:,} messages, {shown - started:.0f} s", err=True)
        if only:
            break
    decoding = time.monotonic() - started
    records = damages = 0
    with tempfile.TemporaryDirectory(prefix="evenkeel-fuzz-") as folder:
        for number in range(first, first + (0 if only else segments)):
            try:
                read, damaged = fuzz_segment(number, Path(folder))
                records, damages = records + read, damages + damaged
            except Violation as violation:
                found += 1
                click.echo(f"VIOLATION {violation}", err=True)
                if found >= SHOWN:
                    break
    click.echo(
        f"decoders: {counts.messages:,} mutated messages ({counts.same:,} of unchanged meaning) among "
        f"{counts.clean:,} others in {counts.sessions:,} sessions, {counts.bad:,} bad, {counts.rows:,} rows, "
        f"{counts.unstorable:,} of them unstorable, {decoding:.1f} s"
    )
    click.echo(
        f"journal: {segments:,} mutated segments, {records:,} records read, {damages:,} damages told, "
        f"{time.monotonic() - started - decoding:.1f} s"
    )
    click.echo(f"first seed {first}, violations: {found}")
    sys.exit(1 if found else 0)


main()
