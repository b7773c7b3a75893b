"""Text without a model: a fixed answer that says what it is, then plain words for ever."""

from __future__ import annotations

from collections.abc import Iterator

ANSWER = (
    "This is the lab's stand-in for the GPU: no model computed these words. Each of them was "
    "released only after both ranks had exchanged the bytes of one token over the network that "
    "NCCL's settings selected."
)
FILLER = (
    "The ranks go on exchanging bytes, one token at a time, until the number of tokens that was "
    "asked for is reached."
)


def words(prompt: str) -> Iterator[tuple[str, bool]]:
    """Tokens, each with True where a model would have ended its answer."""
    text = f"{ANSWER} Your prompt had {len(prompt.split())} words."
    pieces = text.split(" ")
    for index, piece in enumerate(pieces):
        yield (piece if index == 0 else f" {piece}", index == len(pieces) - 1)
    while True:
        for piece in FILLER.split(" "):
            yield f" {piece}", True


def count_tokens(text: str) -> int:
    """About what a tokenizer would say: four bytes a token, and at least one a word."""
    return max(1, len(text.split()), (len(text.encode()) + 3) // 4)
