"""The diagnoses of models and images: code, title, why it matters, how it is mended.

Apart from core/diagnosis.py for its length; read them there.
"""

from __future__ import annotations

ENTRIES: tuple[tuple[str, str, str, str], ...] = (
    (
        "MODEL001",
        "A file of the model is corrupt",
        "The hub's cache names each file by the hash of what it holds, and this one holds "
        "something else: a disk fault, or a copy by a tool that does not verify. An engine may "
        "load it without an error and answer nonsense.",
        "`spark-cluster model sync MODEL --deep --from HOST` copies the files that are wrong from "
        "a host where `model verify` holds. If none has it right: `model rm`, then `model pull`.",
    ),
    (
        "MODEL002",
        "No host has a copy to start from",
        "Copying needs one host whose copy is complete, and complete copies of different "
        "revisions, or of one of which none has all files, do not say which one is meant.",
        "`spark-cluster model ls` shows what each host has. `spark-cluster model pull MODEL` "
        "completes it on one host; with differing copies, name the right one with --from HOST.",
    ),
    (
        "MODEL003",
        "Two hosts cannot copy to each other",
        "Copies go over the fabric's addresses, from a port that the source opens for them. The "
        "hosts share no network of the inventory, an address is not set, or a firewall drops the "
        "connection.",
        "`spark-cluster bootstrap` sets the addresses, `spark-cluster doctor` names a cable or a "
        "firewall in the way. A host without rails needs `links:` in the inventory. What was "
        "copied stays: the next run goes on from there.",
    ),
    (
        "MODEL004",
        "The download broke off",
        "The hub could not be reached from the host, or its client ended with an error.",
        "Run the command again: files that are whole are not downloaded again. If the hub is out "
        "of reach from there, choose another host with --on, or a mirror with HF_ENDPOINT.",
    ),
    (
        "MODEL005",
        "The hub does not give the model",
        "There is no such model or revision, or it is private or gated and the token does not "
        "open it.",
        "Check the name. For a gated model accept its terms on the hub, then set HF_TOKEN here, "
        "or log in on the host with `hf auth login`.",
    ),
    (
        "MODEL006",
        "The host has no client for the hub",
        "Downloads use huggingface_hub: the host's own `hf`, or the one inside a container image.",
        "Name a recipe instead of the model, or an image that is on the host with --image; or "
        "install the client there: `pipx install huggingface_hub`.",
    ),
    (
        "MODEL007",
        "The disk has too little room for the model",
        "Nothing was copied or downloaded: a full disk would stop docker and the logs, too.",
        "`spark-cluster model ls` shows what takes the room, `spark-cluster model rm` removes a "
        "model; `docker image rm NAME` removes an image that nothing needs.",
    ),
    (
        "MODEL008",
        "The model is in use",
        "A running container of ours serves it; without its files it fails at the next restart.",
        "`spark-cluster teardown` first.",
    ),
    (
        "IMAGE001",
        "The image is not the same after the copy",
        "docker computes an image's ID from its content, and the two hosts disagree. Docker's two "
        "kinds of image store (containerd's and its own) give one image different IDs.",
        "Compare `docker info --format '{{.Driver}}'` on both hosts. With the same store on "
        "both, remove the image with `docker image rm` and copy it again.",
    ),
)
