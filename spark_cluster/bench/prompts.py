"""Prompts of an exact length in tokens, the same for the same seed, none with the start of another.

A prompt is a row of short common words. Each of them is one token for the tokenizers in use; the
calibration leaves out those that the server's own tokenizer splits. The first words of every prompt
are drawn anew, so that no prefix cache can answer for the model.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

_TEXT = (
    "act add age air all and any arm art ask bad bag bar bed big bit box boy bus but buy can car "
    "cat cup cut day did dog dry due ear eat end eye far few fit fly for fun gap gas get got "
    "guy had has hat her him his hit hot how ice ill its job key kid law lay led leg let lie "
    "lot low man map may men met mix net new nor not now odd off oil old one our out own pay per "
    "put ran red row run sat saw say sea see set she sit six sky son sun tax tea ten the too "
    "top try two use van was way web wet who why win yes yet you able area army away baby back "
    "ball band bank base bill body book both call care case cell city club cold come cost data "
    "date deal does done door down draw drop each east easy else even ever face fact fall farm "
    "fast fear feel file film find fine fire fish five food foot form four free from full game "
    "girl give goal gold good half hall hand hang hard have head hear heat help here high hold "
    "home hope hour idea join just keep kind king know land last late lead left less life like "
    "line list live long look lord lose loss love main make many mark mean meet mind miss more"
)

#: Short, so that any vocabulary of ten thousand entries has them whole, with the space before.
WORDS = _TEXT.split()

#: A pool with fewer words would let prompts resemble each other.
_LEAST_POOL = 64

#: Gives the number of tokens of a text, None if the server does not say.
Count = Callable[[str], Awaitable[int | None]]


@dataclass(frozen=True)
class Calibration:
    """What the server's tokenizer makes of our words: `tokens = overhead + per_word * words`.

    `exact`: every word of the pool is one token. `how` says where the numbers come from.
    """

    pool: tuple[str, ...] = tuple(WORDS)
    overhead: int = 0
    per_word: float = 1.0
    exact: bool = False
    how: str = "one token a word is assumed: the server has no /tokenize and gave no usage"

    def words(self, tokens: int) -> int:
        """How many words make a prompt of `tokens` tokens, at least one."""
        return max(1, round((tokens - self.overhead) / self.per_word))


async def calibrate(count: Count) -> Calibration | None:
    """Ask the server's tokenizer; None if it does not answer.

    Costs two requests, or one a word for a tokenizer that splits some of them.
    """
    total, one = await count(" ".join(WORDS)), await count(WORDS[0])
    if total is None or one is None:
        return None
    overhead = max(0, one - 1)
    pool = WORDS if total == overhead + len(WORDS) else await _whole(count)
    if len(pool) < _LEAST_POOL:
        per_word = (total - overhead) / len(WORDS)
        how = f"the server's tokenizer splits the words: {per_word:.2f} tokens each on average"
        return Calibration(tuple(WORDS), overhead, per_word, False, how)
    text = " ".join(pool)
    overhead = (await count(text) or 0) - len(pool)
    how = "counted by the server's /tokenize"
    return Calibration(tuple(pool), max(0, overhead), 1.0, overhead >= 0, how)


async def _whole(count: Count) -> list[str]:
    """The words that add exactly one token to a text, each time."""
    kept = []
    for word in WORDS:
        once, more = await count(f"{WORDS[0]} {word}"), await count(WORDS[0] + f" {word}" * 9)
        if once is not None and more is not None and more - once == 8:
            kept.append(word)
    return kept


def estimated(sent_words: int, prompt_tokens: int) -> Calibration:
    """From one answered request, for a server without /tokenize."""
    how = f"estimated: {sent_words} words were {prompt_tokens} tokens of one answer's usage"
    return Calibration(per_word=prompt_tokens / sent_words, how=how)


def prompt(calibration: Calibration, tokens: int, *key: object) -> str:
    """The prompt that `key` (seed, salt, level, number) names, `tokens` tokens long."""
    draw = random.Random("/".join(map(str, key)))
    return " ".join(draw.choices(calibration.pool, k=calibration.words(tokens)))
