"""The diagnoses of recipes: code, title, why it matters, how it is mended.

Apart from core/diagnosis.py for its length; read them there.
"""

from __future__ import annotations

ENTRIES: tuple[tuple[str, str, str, str], ...] = (
    (
        "RECIPE001",
        "The model does not fit into the memory",
        "What the engine may use of a host, less the weights of one rank and what it computes "
        "with, leaves no KV cache, or less than one sequence of full length needs. The engine "
        "ends after minutes of loading; on unified memory the host may freeze instead.",
        "`spark-cluster recipes fit RECIPE` prints the sum, and which number would have to be "
        "what.",
    ),
    (
        "RECIPE002",
        "The model fits with little room",
        "The sum leaves less than its own uncertainty: what an engine needs beside weights and KV "
        "cache was measured for two launches only, and another loader alone has moved it by more "
        "than 4 GiB.",
        "Take one of the ways that `spark-cluster recipes fit RECIPE` names, or watch the memory "
        "during the first start.",
    ),
    (
        "RECIPE003",
        "The engine's version does not know the setting",
        "A variable that was removed is ignored without a word, so the engine runs otherwise than "
        "the recipe says. An argument that is not there yet, or not any more, ends it.",
        "Write what the finding names in its place, or set `engine_version:` to what the image "
        "holds.",
    ),
    (
        "RECIPE004",
        "A setting goes against RDMA between the hosts",
        "NCCL's environment is made for each rank from the inventory. What the recipe sets goes "
        "over it on every host alike: a pinned GID index or interface is right on one host and "
        "wrong on the next, and NCCL falls back to sockets without an error.",
        "Remove the line from the recipe's `env:`.",
    ),
    (
        "RECIPE005",
        "The recipe contradicts itself",
        "Two of its fields cannot both hold, or an argument is one that spark-cluster gives to "
        "each rank itself: the launch would fail, or do something else than is written there.",
        "Change the field that the finding names.",
    ),
    (
        "RECIPE006",
        "A setting is a risk",
        "It was seen to fail on Sparks, depends on something that moves, or cannot be checked.",
        "Do what the finding says, or keep it if you know better: it is only a warning.",
    ),
    (
        "RECIPE007",
        "A secret stands in the recipe in plain text",
        "As an argument `ps` shows it to everyone on the host, as a variable it would be in "
        "docker's command line, in plans and in composed files; and the recipe itself is a file "
        "that people copy.",
        "Name it in `secrets:`. Its value comes from your environment or from a file with mode 600 "
        "on the host. Replace a value that others may have seen.",
    ),
    (
        "RECIPE008",
        "A sequence may be longer than the model's own",
        "max-model-len is more than the model's config.json allows. vLLM ends at once, unless "
        "VLLM_ALLOW_LONG_MAX_MODEL_LEN lets it pass or hf-overrides stretch the model's positions; "
        "what a model answers beyond the length that it was made for may be without sense.",
        "Lower max-model-len to the model's own. Stretch it only as the model's own page says.",
    ),
    (
        "RECIPE009",
        "NCCL cannot connect the ring",
        "In a ring each cable joins two hosts only. NCCL gives every peer its first device, and "
        "only from 2.30.7 on does it take the one in the peer's subnet instead; before, and with "
        "cables that join equal ports, it pairs ends that share no cable, and the start ends with "
        "`ibv_modify_qp` error 110.",
        "Port 0 of each host leads to port 1 of the next, all around. The image needs NCCL 2.30.7 "
        "or newer, as vLLM 0.33 brings it; `--anyway` launches one whose release the recipe does "
        "not tell. Or serve on two of the hosts.",
    ),
)
