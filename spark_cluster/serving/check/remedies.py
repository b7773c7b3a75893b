"""What to do about a check that failed. Flags as vLLM and SGLang name them."""

from __future__ import annotations

_ARGS = "in a recipe it stands under `args`"

TOOLS = (
    "vLLM wants --enable-auto-tool-choice and --tool-call-parser NAME (SGLang the second alone), "
    f"with the parser that the model's page names; {_ARGS}."
)
ARGUMENTS = (
    "Is --tool-call-parser the one that the model's page names, and its chat template, too? "
    "Some models need a --chat-template of vLLM's examples for tools."
)
UNCALLED = (
    "The model was free not to call. Does its page say that it calls tools? Then its chat "
    "template may not show them: --tool-call-parser and --chat-template belong together."
)
REASONING = (
    f"--reasoning-parser NAME, with the parser that the model's page names, parts them; {_ARGS}. "
    "The parser of another model takes all for reasoning, or nothing."
)
PARSER = (
    "Is it the parser that the model's page names, and does its chat template think without being "
    "asked to? Else leave --reasoning-parser out."
)
STRUCTURED = (
    "vLLM and SGLang force the form with xgrammar or another backend: the server's log says why "
    "it did not (`spark-cluster logs --grep grammar`). With a reasoning parser of another model "
    "the form is never begun."
)
IMAGE = (
    "The recipe has arguments for images and the server refuses them: is it the model that the "
    "recipe means, and does --limit-mm-per-prompt allow images?"
)
BLIND = (
    "The picture did not reach the model whole: does the server drop images, or is its vision "
    "encoder broken (wrong quantisation, another chat template)?"
)
LONG = (
    "The server promises this context in /v1/models. `spark-cluster logs` says what it met; a "
    "smaller --max-model-len promises what there is memory for. --longest-prompt asks for less."
)
CUT = (
    "A server that cuts prompts answers what was not asked. Ollama: num_ctx; others: an argument "
    "such as --allow-auto-truncate, which should be off."
)
CRASHED = (
    "`spark-cluster status` shows whether it still runs, `spark-cluster logs` and `spark-cluster "
    "evidence` why not."
)
TOGETHER = "Does --max-num-seqs (SGLang: --max-running-requests) allow more than one request?"
CANCEL = (
    "A proxy before the server may keep the request open: ask the server itself. Requests that "
    "nobody waits for take the others' time."
)
USAGE = "Clients count and bill by `usage`: is there a gateway before the server that drops it?"
BUFFERED = (
    "Something before the server gathers the answer: turn its buffering off (for nginx that is "
    "proxy_buffering off)."
)
EMPTY = (
    "The model ended at once: is the chat template its own, and do the weights belong to it? "
    "`spark-cluster logs` has the server's warnings."
)

_KEY = "--api-key-env NAME gives the key in that variable."
_TEMPLATE = "vLLM wants --chat-template FILE where the model brings none: is it a chat model?"
_NOT_THERE = "Give the address of an OpenAI-compatible API that answers /v1/chat/completions."
_REFUSED = "The server's own words say what it does not take."
_SILENT = (
    "`spark-cluster status` shows whether it runs and makes tokens, `spark-cluster logs` why not; "
    "--timeout gives each request longer."
)
_FORM = (
    "Is there a gateway before the server that changes or ends answers? Ask the server itself; "
    "--timeout gives each request longer."
)


def of_status(status: int | None, words: str) -> str:
    """What to do about an answer with this HTTP status (None: there was none) in which the server
    gave these words."""
    if status in (401, 403):
        return _KEY
    if "chat template" in words.lower():
        return _TEMPLATE
    if status in (404, 405):
        return _NOT_THERE
    if status == 200:
        return _FORM
    return _REFUSED if status is not None and 400 <= status < 500 else _SILENT
