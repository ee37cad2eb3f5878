"""Sections as Markdown that can be read in a terminal: the columns of tables are aligned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len

from analyzer.audit.sections import Section


def markdown(title: str, span: str, sections: Sequence[Section]) -> str:
    parts = [f"# {title}", span]
    for section in sections:
        parts += [f"## {section.title}", *section.text]
        if section.rows:
            parts.append("\n".join(_table(section.header, section.rows)))
    return "\n\n".join(parts)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    cells = [[_cell(text) for text in row] for row in (header, *rows)]
    widths = [max(3, *(cell_len(row[column]) for row in cells)) for column in range(len(header))]
    widths[-1] = 3  # nothing follows that would have to be aligned
    for number, row in enumerate(cells):
        padded = [text + " " * (width - cell_len(text)) for text, width in zip(row, widths, strict=True)]
        yield f"| {' | '.join(padded).rstrip()} |"
        if number == 0:
            yield f"|{'|'.join('-' * (width + 2) for width in widths)}|"


def _cell(text: str) -> str:
    """One line, without what ends a cell or steers a terminal."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain.replace("\\", "\\\\").replace("|", "\\|")
