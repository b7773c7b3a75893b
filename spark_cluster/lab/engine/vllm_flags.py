"""The command line of `vllm serve` 0.11.0, the release inside nvcr.io/nvidia/vllm:25.11-py3.

A table, so that a flag of another release is refused as the real program refuses it. Taken from
vllm/engine/arg_utils.py and vllm/entrypoints/openai/cli_args.py: names, kind, choices. CHANGES
has what later releases added and dropped, as far as recipes have to do with it.
"""

from __future__ import annotations

QUANTIZATION = [
    "awq",
    "deepspeedfp",
    "tpu_int8",
    "fp8",
    "ptpc_fp8",
    "fbgemm_fp8",
    "modelopt",
    "modelopt_fp4",
    "bitblas",
    "gguf",
    "gptq_marlin_24",
    "gptq_marlin",
    "gptq_bitblas",
    "awq_marlin",
    "gptq",
    "compressed-tensors",
    "bitsandbytes",
    "hqq",
    "experts_int8",
    "ipex",
    "quark",
    "moe_wna16",
    "torchao",
    "auto-round",
    "rtn",
    "inc",
    "mxfp4",
    "petit_nvfp4",
]

# bool: --x and --no-x; flag: --x; size: 4096, 4k or 4K; list: one or more; maybe: with or without.
SERVE = """
--runner str auto|generate|pooling|draft
--convert str auto|none|embed|classify|reward
--task str auto|generate|embedding|embed|classify|score|reward|transcription|draft
--tokenizer str
--tokenizer-mode str auto|slow|mistral|custom
--trust-remote-code bool
--dtype str auto|half|float16|bfloat16|float|float32
--seed int
--hf-config-path str
--allowed-local-media-path str
--allowed-media-domains list
--revision str
--code-revision str
--rope-scaling json
--rope-theta float
--tokenizer-revision str
--max-model-len size
--quantization,-q str @quantization
--enforce-eager bool
--max-logprobs int
--logprobs-mode str raw_logits|raw_logprobs|processed_logits|processed_logprobs
--disable-sliding-window bool
--disable-cascade-attn bool
--skip-tokenizer-init bool
--enable-prompt-embeds bool
--served-model-name list
--config-format str
--hf-token maybe
--hf-overrides str
--pooler-config json
--override-pooler-config json
--logits-processor-pattern str
--generation-config str
--override-generation-config json
--enable-sleep-mode bool
--model-impl str auto|vllm|transformers|terratorch
--override-attention-dtype str
--logits-processors list
--io-processor-plugin str
--load-format str
--download-dir str
--safetensors-load-strategy str
--model-loader-extra-config json
--ignore-patterns list
--use-tqdm-on-load bool
--pt-load-map-location str
--reasoning-parser str
--distributed-executor-backend str ray|mp|uni|external_launcher
--pipeline-parallel-size,-pp int
--tensor-parallel-size,-tp int
--decode-context-parallel-size,-dcp int
--data-parallel-size,-dp int
--data-parallel-rank,-dpn int
--data-parallel-start-rank,-dpr int
--data-parallel-size-local,-dpl int
--data-parallel-address,-dpa str
--data-parallel-rpc-port,-dpp int
--data-parallel-backend,-dpb str
--data-parallel-hybrid-lb bool
--enable-expert-parallel bool
--enable-dbo bool
--dbo-decode-token-threshold int
--dbo-prefill-token-threshold int
--enable-eplb bool
--eplb-config json
--expert-placement-strategy str linear|round_robin
--num-redundant-experts int
--eplb-window-size int
--eplb-step-interval int
--eplb-log-balancedness bool
--max-parallel-loading-workers int
--ray-workers-use-nsight bool
--disable-custom-all-reduce bool
--worker-cls str
--worker-extension-cls str
--enable-multimodal-encoder-data-parallel flag
--block-size int 1|8|16|32|64|128
--gpu-memory-utilization float
--kv-cache-memory-bytes size
--swap-space float
--kv-cache-dtype str auto|bfloat16|fp8|fp8_e4m3|fp8_e5m2|fp8_inc
--num-gpu-blocks-override int
--enable-prefix-caching bool
--prefix-caching-hash-algo str sha256|sha256_cbor
--cpu-offload-gb float
--calculate-kv-scales bool
--kv-sharing-fast-prefill bool
--mamba-cache-dtype str auto|float32
--mamba-ssm-cache-dtype str auto|float32
--limit-mm-per-prompt json
--media-io-kwargs json
--mm-processor-kwargs json
--mm-processor-cache-gb float
--disable-mm-preprocessor-cache flag
--mm-processor-cache-type str shm|lru
--mm-shm-cache-max-object-size-mb int
--mm-encoder-tp-mode str weights|data
--interleave-mm-strings bool
--skip-mm-profiling bool
--video-pruning-rate float
--enable-lora bool
--enable-lora-bias bool
--max-loras int
--max-lora-rank int
--lora-extra-vocab-size int
--lora-dtype str auto|float16|bfloat16
--max-cpu-loras int
--fully-sharded-loras bool
--default-mm-loras json
--show-hidden-metrics-for-version str
--otlp-traces-endpoint str
--collect-detailed-traces list model|worker|all
--max-num-batched-tokens size
--max-num-seqs int
--max-num-partial-prefills int
--max-long-partial-prefills int
--cuda-graph-sizes ints
--long-prefill-token-threshold int
--num-lookahead-slots int
--scheduling-policy str fcfs|priority
--enable-chunked-prefill bool
--disable-chunked-mm-input bool
--scheduler-cls str
--disable-hybrid-kv-cache-manager bool
--async-scheduling bool
--speculative-config json
--kv-transfer-config json
--kv-events-config json
--compilation-config,-O json
--additional-config json
--structured-outputs-config json
--disable-log-stats flag
--enable-log-requests bool
--disable-log-requests bool
--host str
--port int
--uds str
--uvicorn-log-level str debug|info|warning|error|critical|trace
--disable-uvicorn-access-log bool
--allow-credentials bool
--allowed-origins list
--allowed-methods list
--allowed-headers list
--api-key list
--lora-modules list
--chat-template str
--chat-template-content-format str auto|string|openai
--trust-request-chat-template bool
--response-role str
--ssl-keyfile str
--ssl-certfile str
--ssl-ca-certs str
--enable-ssl-refresh bool
--ssl-cert-reqs int
--root-path str
--middleware list
--return-tokens-as-token-ids bool
--disable-frontend-multiprocessing bool
--enable-request-id-headers bool
--enable-auto-tool-choice bool
--exclude-tools-when-tool-choice-none bool
--tool-call-parser str
--tool-parser-plugin str
--tool-server str
--log-config-file str
--max-log-len int
--disable-fastapi-docs bool
--enable-prompt-tokens-details bool
--enable-server-load-tracking bool
--enable-force-include-usage bool
--enable-tokenizer-info-endpoint bool
--enable-log-outputs bool
--h11-max-incomplete-event-size int
--h11-max-header-count int
--log-error-stack bool
--headless flag
--api-server-count,-asc int
--config str
"""

# The release that made the change: what came, what went.
CHANGES = (
    (
        "0.11.1",
        """
--nnodes,-n int
--node-rank,-r int
--master-addr str
--master-port int
""",
        (),
    ),
    ("0.13.0", "--attention-backend str", ()),
    ("0.17.1", "", ("--disable-log-requests",)),
)
