"""Recorded rows as files for other programs: what is written (`plan`), how a file comes about (`files`), and one module a
format, named in FORMATS."""

from __future__ import annotations

from analyzer.exports.base import Format
from analyzer.exports.hftbacktest import HFTBACKTEST
from analyzer.exports.parquet import PARQUET
from analyzer.exports.tardis import TARDIS

FORMATS: dict[str, Format] = {form.name: form for form in (PARQUET, HFTBACKTEST, TARDIS)}
