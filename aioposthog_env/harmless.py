"""Text from outside, made harmless: a name is anybody's text, and control characters would reach the terminal."""

import json


def harmless(text: str) -> str:
    """Text in which no character commands a terminal, ends a line, or turns the direction of what follows."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def harmless_json(encoded: bytes) -> str:
    """JSON of the same meaning, in which no character commands a terminal or turns the direction of what follows."""
    text = encoded.decode()
    if text.replace("\n", "").isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)
