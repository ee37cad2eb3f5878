"""Changes of a message: some leave its meaning, some its form, some neither. All from one random source."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import msgspec

VALUES: list[Any] = [
    *(
        msgspec.Raw(token)
        for token in (b"NaN", b"Infinity", b"1e400", b"-1e400", b"5e-324", b"1e300", b"1E-320")
    ),
    *(
        msgspec.Raw(token)
        for token in (b"18446744073709551616", b"9007199254740993", b"01", b"+1", b".5", b"1e", b"--1")
    ),
    *(
        -1,
        0,
        1,
        -0.0,
        2**53 + 1,
        2**63,
        2**31,
        1e18,
        0.1,
        True,
        False,
        None,
        "",
        " ",
        "0",
        "-1",
        "NaN",
        "inf",
        "-Infinity",
    ),
    *(
        "1e400",
        "1e-400",
        "5e-324",
        "1e300",
        "1e-300",
        "0x10",
        "1_000",
        "١٢",
        "1,5",
        "null",
        "Buy",
        "snapshot",
        "delta",
    ),
    *(
        "18446744073709551616",
        "9007199254740993",
        "'; DROP TABLE trades; --",
        "a,b=c\n",
        "../../x",
        "\x00",
        "é" * 9,
        "🦀",
    ),
    *([], {}, [[]], [None], {"a": {"b": [1]}}, [["1", "2", "3"]], [["1"]], [[[]]], "x" * 5000),
]
"""What a value may be replaced by: numbers that are none, that overflow, that underflow, other types, hostile texts."""


def places(node: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """(container, key or index) of every value in `node`."""
    for key in node if isinstance(node, dict) else range(len(node)):
        found.append((node, key))
        if isinstance(node[key], dict | list):
            places(node[key], found)
    return found


def _parsed(
    change: Callable[[Any, list[tuple[Any, Any]], random.Random], None],
) -> Callable[[bytes, random.Random], bytes]:
    def mutate(raw: bytes, rng: random.Random) -> bytes:
        message = msgspec.json.decode(raw)
        change(message, places(message, []), rng)
        return msgspec.json.encode(message)

    mutate.__name__ = change.__name__
    return mutate


@_parsed
def replace_value(message: Any, where: list[tuple[Any, Any]], rng: random.Random) -> None:
    for container, key in rng.sample(where, min(len(where), rng.choice((1, 1, 1, 2, 5)))):
        container[key] = rng.choice(VALUES)


@_parsed
def remove_key(message: Any, where: list[tuple[Any, Any]], rng: random.Random) -> None:
    container, key = rng.choice(where)
    del container[key]


@_parsed
def swap_values(message: Any, where: list[tuple[Any, Any]], rng: random.Random) -> None:
    (one, first), (other, second) = rng.choice(where), rng.choice(where)
    if not isinstance(one[first], dict | list) and not isinstance(other[second], dict | list):
        one[first], other[second] = other[second], one[first]


@_parsed
def repeat_item(message: Any, where: list[tuple[Any, Any]], rng: random.Random) -> None:
    lists = [
        container[key] for container, key in where if isinstance(container[key], list) and container[key]
    ]
    if lists:
        chosen = rng.choice(lists)
        chosen.extend([rng.choice(chosen)] * rng.choice((1, 2, 50, 3000)))


@_parsed
def add_key(message: Any, where: list[tuple[Any, Any]], rng: random.Random) -> None:
    names = [key for _, key in where if isinstance(key, str)]
    objects = [message] + [c[k] for c, k in where if isinstance(c[k], dict)]
    target = rng.choice([item for item in objects if isinstance(item, dict)])
    target[rng.choice((rng.choice(names), "x", "op", "topic", "success", "data", "u"))] = rng.choice(VALUES)


def repeat_key(raw: bytes, rng: random.Random) -> bytes:
    """The last of two equal keys counts for most parsers, the first for some."""
    name = rng.choice(list(msgspec.json.decode(raw)) or ["x"])
    return raw[:-1] + b"," + msgspec.json.encode(name) + b":" + msgspec.json.encode(rng.choice(VALUES)) + b"}"


def flip_bytes(raw: bytes, rng: random.Random) -> bytes:
    out = bytearray(raw or b"\x00")
    for _ in range(rng.choice((1, 1, 2, 8))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def truncate(raw: bytes, rng: random.Random) -> bytes:
    return raw[: rng.randrange(len(raw))] if raw else raw


def splice(raw: bytes, rng: random.Random) -> bytes:
    first, last = sorted(rng.randrange(len(raw) + 1) for _ in range(2))
    at = rng.randrange(len(raw) + 1)
    return raw[:at] + raw[first:last] + raw[at:] if rng.random() < 0.5 else raw[:first] + raw[last:]


def noise(raw: bytes, rng: random.Random) -> bytes:
    return rng.choice(
        (
            rng.randbytes(rng.randrange(200)),
            b"",
            b"null",
            b"[]",
            b"{}",
            b'"text"',
            b"[" * 5000,
            b'{"a":' * 5000,
            b"\xef\xbb\xbf" + raw,
            raw + raw,
            raw + b"\x00",
        )
    )


BREAKING: list[Callable[[bytes, random.Random], bytes]] = [
    *[replace_value] * 6,
    *[remove_key] * 2,
    *(swap_values, repeat_item, add_key, repeat_key),
    *[flip_bytes] * 3,
    *[truncate] * 2,
    *(splice, noise),
]
"""Weighted: what looks most like a mistake of a venue comes most often."""


FORMLESS = [flip_bytes, truncate, splice, noise]
"""For what is no JSON object."""


def reorder_keys(raw: bytes, rng: random.Random) -> bytes:
    def shuffled(node: Any) -> Any:
        if isinstance(node, dict):
            items = [(key, shuffled(value)) for key, value in node.items()]
            rng.shuffle(items)
            return dict(items)
        return [shuffled(item) for item in node] if isinstance(node, list) else node

    return written(shuffled(parsed(raw)), separators=(",", ":"))


def white_space(raw: bytes, rng: random.Random) -> bytes:
    return written(parsed(raw), indent=rng.choice((None, 0, 1)), separators=(" ,\t", " :\r\n "))


def parsed(raw: bytes) -> Any:
    """Numbers keep their digits, which some venues' checksums count."""
    return json.loads(raw, parse_float=lambda digits: f"\0{digits}\0")


def written(value: Any, **how: Any) -> bytes:
    return json.dumps(value, **how).replace('"\\u0000', "").replace('\\u0000"', "").encode()


def escapes(raw: bytes, rng: random.Random) -> bytes:
    """Letters of the texts as \\u00xx."""
    out, inside = [], False
    for character in raw.decode():
        if character == '"':
            inside = not inside
        escape = inside and character.isalpha() and rng.random() < 0.2
        out.append(f"\\u{ord(character):04x}" if escape else character)
    return "".join(out).encode()


def unknown_keys(raw: bytes, rng: random.Random) -> bytes:
    value = msgspec.json.encode(rng.choice([v for v in VALUES if not isinstance(v, msgspec.Raw)]))
    return b'{"zz_new":' + value + b"," + raw[1:]


MEANINGLESS: list[Callable[[bytes, random.Random], bytes]] = [
    reorder_keys,
    white_space,
    escapes,
    unknown_keys,
]
"""For messages without escapes: they mean the same afterwards."""
