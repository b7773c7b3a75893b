"""The checks' requests: bodies for /v1/chat/completions in the words that all servers know."""

from __future__ import annotations

from collections.abc import Mapping

#: Where all of them go.
PATH = "/v1/chat/completions"

#: Tokens of an answer, at most. A model that thinks needs hundreds before its first word; one that
#: does not ends by itself after a few.
_ANSWER = 1024

#: The share of a context that an answer may take.
_SHARE = 4

#: Tokens of the answers that run at once, and of the one that is cancelled: long enough that they
#: would still run when it is looked.
TOGETHER, CANCELLED = 96, 4096

#: What the picture is, and what an answer must call it.
COLOUR, RGB = "red", (255, 0, 0)

FUNCTION = "get_weather"
ARGUMENTS: Mapping[str, object] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city", "unit"],
}

#: Every value of it is one of a few: a model whose words are forced into it comes to an end.
FORM: Mapping[str, object] = {
    "type": "object",
    "properties": {
        "colour": {"type": "string", "enum": ["red", "green", "blue"]},
        "warm": {"type": "boolean"},
    },
    "required": ["colour", "warm"],
    "additionalProperties": False,
}

_SHORT = "What is the capital of France? Answer with its name alone."
_COUNT = "Count from one to sixty in words, one after the other, with nothing else."
_LONG = "Count from one to ten thousand in words, one after the other, with nothing left out."
_LOOK = "What colour is this picture? Answer with one word."
_THINK = (
    "A bat and a ball cost 1.10 together. The bat costs 1 more than the ball. What is the ball?"
)
_PAINT = "Name a colour and say whether it is warm, as JSON with the fields colour and warm."
_WEATHER = "What is the weather in Paris, in celsius? Use the tool."
_SUMMARY = "Of the words above, which is the last? Answer with it alone."

Body = dict[str, object]


def answer_tokens(context: int | None) -> int:
    """How long an answer may be on a server with this context, in tokens."""
    return _ANSWER if context is None else max(1, min(_ANSWER, context // _SHARE))


def chat(model: str, tokens: int, content: object = _SHORT) -> Body:
    """A question with a short answer."""
    messages = [{"role": "user", "content": content}]
    return {"model": model, "messages": messages, "max_tokens": tokens, "temperature": 0}


def streamed(body: Body) -> Body:
    """The same, its answer as it is made and with its usage at the end."""
    return {**body, "stream": True, "stream_options": {"include_usage": True}}


def tools(model: str, tokens: int) -> Body:
    """A question for which a function is offered; whether it is called is the model's choice."""
    function = {
        "name": FUNCTION,
        "description": "The present weather of a city.",
        "parameters": ARGUMENTS,
    }
    offered = [{"type": "function", "function": function}]
    return {**chat(model, tokens, _WEATHER), "tools": offered, "tool_choice": "auto"}


def reasoning(model: str, tokens: int) -> Body:
    """A question on which a model that thinks does so."""
    return chat(model, tokens, _THINK)


def structured(model: str, tokens: int) -> Body:
    """A question whose answer has a form."""
    schema = {"name": "colour", "strict": True, "schema": FORM}
    form = {"type": "json_schema", "json_schema": schema}
    return {**chat(model, tokens, _PAINT), "response_format": form}


def image(model: str, tokens: int, picture: str) -> Body:
    """A question about a picture, which is a data URL."""
    content = [
        {"type": "image_url", "image_url": {"url": picture}},
        {"type": "text", "text": _LOOK},
    ]
    return chat(model, tokens, content)


def long(model: str, tokens: int, words: str) -> Body:
    """A question after many words."""
    return chat(model, tokens, f"{words}\n\n{_SUMMARY}")


def together(model: str, context: int | None) -> Body:
    """A question whose answer takes a while, streamed."""
    return streamed(chat(model, min(TOGETHER, answer_tokens(context)), _COUNT))


def cancelled(model: str, context: int | None) -> Body:
    """A question whose answer would take minutes, streamed."""
    tokens = CANCELLED if context is None else max(1, min(CANCELLED, context // 2))
    return streamed(chat(model, tokens, _LONG))
