"""A token's bytes between the ranks. Pure.

The stand-in's ranks stand in a ring: each sends to the next only. The tensor-parallel ranks of a
stage share the all-reduces of its layers. A stage's last rank hands its result to the next stage,
as vLLM's point-to-point send over NCCL does; the last stage hands on nothing. The sampled token
goes back through the scheduler and not over NCCL, in vLLM as here.
"""

from __future__ import annotations

ELEMENT = 2
"""Bytes of one number of a hidden state (BF16)."""


def links(layers: int, hidden: int, tp: int, pp: int, given: int = 0) -> tuple[int, ...]:
    """Bytes that one token makes each rank send to the next; the last rank's next is rank 0.

    `layers` and `hidden` are the model's; `given` takes the place of what a link carries, if it
    carries anything.
    """
    # Two all-reduces a layer; in a ring each rank sends 2·(n-1)/n of the vector.
    stage = layers * 2 * hidden * ELEMENT * 2 * (tp - 1) // tp // pp
    hand_over = 2 * hidden * ELEMENT  # the hidden state and the residual
    last = tp * pp - 1
    found = [
        stage + (hand_over if rank % tp == tp - 1 and rank < last else 0)
        for rank in range(last + 1)
    ]
    return tuple(given if given and each else each for each in found)
