"""`vllm serve`: starts the engine on the ranks, logs vLLM's milestones, serves the API."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time

from . import mp, tracebacks, vllm_args
from .driver import FAILED, Driver
from .engine_log import StartError, say
from .http_api import Api, Settings
from .httpd import Server
from .logs import out, set_process_name, vllm_line
from .metrics import Metrics
from .model import Model, ModelError, find_model
from .release import at_least, engine_process, later, version
from .scheduler import Engine
from .tables import read_rows

NAME = "vllm"
WATCHDOG = 5.0
"""Seconds between two looks of the API server at the engine: a dead one ends it."""
BACKENDS = [name for (name,) in read_rows("attention_backends.txt")]


def api(where: str, text: str, level: str = "INFO") -> None:
    """A line of the API server's process."""
    out(vllm_line("APIServer", where, text, level))


class ApiServer:
    """One `vllm serve`."""

    def __init__(self, args: vllm_args.ServeArgs) -> None:
        self.args = args
        self.done = threading.Event()
        self.driver: Driver | None = None
        self.metrics: Metrics | None = None
        self.engine: Engine | None = None
        self.looked = time.monotonic()
        self.dead = ""

    def run(self) -> int:
        """Until a signal, or until the engine dies."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.done.set())
        text = later("version", "vLLM API server version")
        banner = later("api_utils.py:339", "api_server.py:1839")
        api(banner, f"{text} {version()} (spark-lab stand-in)")
        given = later("api_utils.py:273", "utils.py:233")
        api(given, f"non-default args: {self.args.given}")
        try:
            server = self._listen()
            model, context = self._model()
        except (StartError, ModelError) as error:
            tracebacks.printed("APIServer", tracebacks.SERVE, str(error))
            return 1
        try:
            api_object = self._engine(model, context)
        except StartError as error:
            who, where = engine_process(), later("core.py:1195", "core.py:708")
            text = str(error)
            tracebacks.logged(who, where, "EngineCore failed to start.", error.frames, text)
            tracebacks.printed(who, error.frames, text, f"Process {who}:")
            if self.driver:
                self.driver.abandon()
            failed = later("{}", f"{{'{who}': 1}}")
            tracebacks.printed(
                "APIServer",
                tracebacks.SERVER,
                "RuntimeError: Engine core initialization failed. See root cause above. Failed "
                f"core proc(s): {failed}",
            )
            server[0].close()
            return 1
        self._serve(server, api_object)
        return 0

    # -- start ----------------------------------------------------------------------------------

    def _listen(self) -> tuple[Server, str]:
        """The port is bound before the engine starts, as in vLLM; it answers after."""
        host = str(self.args.get("host") or "0.0.0.0")
        port = int(self.args.get("port"))
        self._handler: Api | None = None
        log = f"(APIServer pid={os.getpid()}) INFO:     "
        quiet = self.args.get("disable_uvicorn_access_log")
        try:
            server = Server(
                host,
                port,
                lambda request, answer: self._ready().handle(request, answer),
                None if quiet else lambda text: out(log + text),
            )
        except OSError as error:
            raise StartError(f"OSError: [Errno {error.errno}] {error.strerror}") from error
        return server, f"http://{host}:{port}"

    def _ready(self) -> Api:
        assert self._handler is not None
        return self._handler

    def _model(self) -> tuple[Model, int]:
        args = self.args
        load_format = str(args.get("load_format"))
        model = find_model(args.model, os.environ, load_format)
        context = model.context
        if args.get("max_model_len"):
            context = int(args.get("max_model_len"))
            if context > model.context:
                raise StartError(
                    f"ValueError: User-specified max_model_len ({context}) is greater than the "
                    f"derived max_model_len (max_position_embeddings={model.context})."
                )
        for where, text in model.told(args.model, context):
            api(where, text)
        batched = int(args.get("max_num_batched_tokens"))
        api(
            "scheduler.py:205",
            f"Chunked prefill is enabled with max_num_batched_tokens={batched}.",
        )
        backend = self._backend()
        if backend and backend not in BACKENDS:
            raise StartError(
                f"ValueError: Invalid attention backend: '{backend}'. Valid backends are: "
                f"{BACKENDS}"
            )
        return model, context

    def _backend(self) -> str:
        """The attention backend that was asked for; the variable is ignored from 0.15.1."""
        given = str(self.args.get("attention_backend") or "")
        return given or ("" if at_least("0.15.1") else os.environ.get("VLLM_ATTENTION_BACKEND", ""))

    def _engine(self, model: Model, context: int) -> Api:
        args = self.args
        say(
            later("core.py:113", "core.py:77"),
            f"Initializing a V1 LLM engine (v{version()}) with config: model='{model.path}', "
            f"tensor_parallel_size={args.get('tensor_parallel_size')}, "
            f"quantization={args.get('quantization')}, max_seq_len={context}, "
            f"kv_cache_dtype={args.get('kv_cache_dtype')}",
        )
        backend = self._backend()
        name = {"TRITON_ATTN": "Triton", "FLASHINFER": "FlashInfer"}.get(backend, "Flash Attention")
        say("cuda.py:322", f"Using {name} backend on V1 engine.")
        self.driver = Driver(args, model, self._lost)
        self.driver.start()
        self.metrics = Metrics(
            # Without a served name the label is what vLLM calls the model by then.
            args.names[0] if args.get("served_model_name") else model.path,
            context,
            {
                "engine": "0",
                "block_size": "16",
                "cache_dtype": args.get("kv_cache_dtype"),
                "enable_prefix_caching": True,
                "gpu_memory_utilization": args.get("gpu_memory_utilization"),
                "num_gpu_blocks": self.driver.kv_tokens // 16,
            },
        )
        by_priority = args.get("scheduling_policy") == "priority"
        self.engine = engine = Engine(
            self.driver,
            self.metrics,
            max_seqs=int(args.get("max_num_seqs")),
            kv_tokens=self.driver.kv_tokens,
            by_priority=by_priority,
            on_death=self._on_death,
        )
        engine.start()
        settings = Settings(
            names=args.names,
            root=args.model,
            context=context,
            version=version(),
            by_priority=by_priority,
            api_keys=args.get("api_key") or [],
        )
        return Api(settings, engine, self.metrics)

    def _lost(self, reason: str) -> None:
        """The executor tells that it is lost, asked or not."""
        if self.engine:
            self.engine.fail(reason)

    def _on_death(self, reason: str) -> None:
        self.dead = reason
        frames = tracebacks.FAILED if reason == FAILED else tracebacks.LOOP
        who, where = engine_process(), later("core.py:1197", "core.py:710")
        tracebacks.logged(who, where, "EngineCore encountered a fatal error.", frames, reason)
        tracebacks.logged(
            "APIServer",
            later("async_llm.py:704", "async_llm.py:480"),
            "AsyncLLM output_handler failed.",
            tracebacks.OUTPUT,
            "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See "
            "stack trace (above) for the root cause.",
        )
        tracebacks.printed(who, frames, reason, f"Process {who}:")
        self.done.set()

    # -- serve ----------------------------------------------------------------------------------

    def _serve(self, server: tuple[Server, str], handler: Api) -> None:
        self._handler = handler
        pid = os.getpid()
        text = "Starting vLLM server on" if at_least("0.20.0") else "Starting vLLM API server 0 on"
        api(later("api_server.py:583", "api_server.py:1912"), f"{text} {server[1]}")
        api(later("launcher.py:37", "launcher.py:34"), "Available routes are:")
        for route, methods in (
            ("/health", "GET"),
            ("/metrics", "GET"),
            ("/version", "GET"),
            ("/v1/models", "GET"),
            ("/v1/chat/completions", "POST"),
            ("/v1/completions", "POST"),
        ):
            api("launcher.py:42", f"Route: {route}, Methods: {methods}")
        server[0].start()
        out(f"(APIServer pid={pid}) INFO:     Started server process [{pid}]")
        out(f"(APIServer pid={pid}) INFO:     Waiting for application startup.")
        out(f"(APIServer pid={pid}) INFO:     Application startup complete.")
        self._watch()
        if self.dead:
            # Requests in flight get their 500 first; /health has 503 until then.
            time.sleep(max(1.0, WATCHDOG - (time.monotonic() - self.looked) % WATCHDOG))
        out(f"(APIServer pid={pid}) INFO:     Shutting down")
        server[0].close()
        if self.driver:
            self.driver.close()
        out(f"(APIServer pid={pid}) INFO:     Waiting for application shutdown.")
        out(f"(APIServer pid={pid}) INFO:     Application shutdown complete.")
        out(f"(APIServer pid={pid}) INFO:     Finished server process [{pid}]")
        if at_least("0.20.0"):
            for line, text in ((652, "start timeout=0s"), (659, "complete")):
                api(f"core_client.py:{line}", f"[shutdown] MPClient: {text}")

    def _watch(self) -> None:
        """The throughput line every ten seconds, while there is any."""
        assert self.metrics is not None
        before = (0.0, 0.0)
        quiet = bool(self.args.get("disable_log_stats"))
        idle = True
        while not self.done.wait(10.0):
            now = (self.metrics.value("prompt_tokens"), self.metrics.value("generation_tokens"))
            running = int(self.metrics.value("num_requests_running"))
            was, idle = idle, now == before and not running
            if not quiet and not (idle and was):
                kv = 100 * self.metrics.value("kv_cache_usage_perc")
                api(
                    "loggers.py:127",
                    f"Engine 000: Avg prompt throughput: {(now[0] - before[0]) / 10:.1f} tokens/s, "
                    f"Avg generation throughput: {(now[1] - before[1]) / 10:.1f} tokens/s, "
                    f"Running: {running} reqs, "
                    f"Waiting: {int(self.metrics.value('num_requests_waiting'))} reqs, "
                    f"GPU KV cache usage: {kv:.1f}%, Prefix cache hit rate: 0.0%",
                )
            before = now


def main() -> int:
    """The command `vllm`."""
    args = vllm_args.parse(sys.argv[1:])
    set_process_name(NAME)
    code = mp.run_headless(args) if args.get("headless") else ApiServer(args).run()
    # Threads of open connections must not hold the process.
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(code)
