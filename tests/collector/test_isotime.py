from __future__ import annotations

import pytest

from collector.exchanges.isotime import iso_us


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("1970-01-02T00:00:00Z", 86_400_000_000),
        ("2024-11-24T08:26:22.356Z", 1_732_436_782_356_000),
        ("2023-10-06T17:35:55.440295Z", 1_696_613_755_440_295),
        ("2026-04-07T14:30:01.4567899Z", 1_775_572_201_456_789),
        ("2026-04-07T14:30:01.5Z", 1_775_572_201_500_000),
        ("2026-04-07 14:30:01Z", 1_775_572_201_000_000),
    ],
)
def test_times(text: str, us: int) -> None:
    assert iso_us(text) == us


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Z",
        "2024-11-24",
        "2024-11-24T08:26:22",
        "2024-11-24T08:26:22.Z",
        "2024-11-24T08:26:22.3x6Z",
        "2024-11-24T08:26:22.356+00:00",
        "2024-13-24T08:26:22Z",
        "0001-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "2024-11-24T08:26:22.٣Z",
        "٢024-11-24T08:26:22Z",
        "2024-11-24T08:26:22,356Z",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is |must be"):
        iso_us(text)
