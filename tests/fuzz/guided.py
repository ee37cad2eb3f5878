"""`python -m tests.fuzz.guided`: fuzzing that is led by what of our code a message reaches, by atheris (libFuzzer), which is
fetched on demand into `var/bench/`. Exit 1 at a violation; says so where atheris can't be had."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from tests.bench.scratch import LeftOutError, packages_folder
from tests.fuzz.guided_target import seeds


@click.command()
@click.option("--seconds", type=click.IntRange(1), default=120, show_default=True)
def main(seconds: int) -> None:
    """Messages for every decoder, and segments for the journal's reader."""
    try:
        packages = packages_folder("atheris", "atheris>=2.3")
    except LeftOutError as error:
        click.echo(f"guided fuzzing left out: {error}", err=True)
        return
    with tempfile.TemporaryDirectory(prefix="evenkeel-guided-") as name:
        folder = Path(name)
        corpus = folder / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(seeds()):
            (corpus / f"{number}").write_bytes(seed)
        target = [sys.executable, "-m", "tests.fuzz.guided_target", str(corpus)]
        limits = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=20", f"-artifact_prefix={folder}/"]
        environment = os.environ | {"PYTHONPATH": str(packages)}
        done = subprocess.run(
            [*target, *limits], env=environment, stderr=subprocess.PIPE, text=True, check=False
        )
        runs = re.search(r"Done (\d+) runs in (\d+) second", done.stderr)
        covered = re.findall(r"cov: (\d+) ft: (\d+)", done.stderr)
        if done.returncode or runs is None or not covered:
            click.echo(done.stderr[-6000:], err=True)
            for crash in folder.glob("crash-*"):
                click.echo(f"input: {crash.read_bytes()[:3000]!r}", err=True)
            sys.exit(1)
        first, last = covered[0], covered[-1]
        click.echo(
            f"guided: {int(runs[1]):,} inputs in {runs[2]} s, from {len(list(corpus.iterdir())):,} kept ones; "
            f"branches reached {first[0]} → {last[0]}, features {first[1]} → {last[1]}; violations: 0"
        )


if __name__ == "__main__":
    main()
