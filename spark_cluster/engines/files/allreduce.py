"""All-reduces between the ranks of a launch, timed. Runs in a recipe's image and needs torch alone.

Its environment: RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT as torch.distributed has them, and
SPARK_CLUSTER_{BACKEND,SIZES,SECONDS,LIMIT}: nccl or gloo, bytes with commas between, seconds of
each size, seconds of everything.
"""

import datetime
import json
import os
import signal
import sys
import time

import torch
import torch.distributed as dist

MARK = "spark-cluster-collective"

#: Bytes of an all-reduce, whatever is asked: one of 16 GiB is reported to have frozen a Spark.
MOST = 2**30

#: All-reduces of a size that are timed, at most.
CALLS = 50

#: Seconds of one all-reduce after which larger ones are left out.
SLOW = 15.0


def say(**what: object) -> None:
    sys.stdout.write(f"{MARK} {json.dumps(what)}\n")
    sys.stdout.flush()


def main() -> None:
    own = {name: os.environ[f"SPARK_CLUSTER_{name}"] for name in ("BACKEND", "SIZES", "SECONDS")}
    limit = int(os.environ["SPARK_CLUSTER_LIMIT"])
    signal.alarm(limit)
    on_gpu = own["BACKEND"] == "nccl"
    device = "cuda:0" if on_gpu else "cpu"
    if on_gpu:
        torch.cuda.set_device(0)

    def done() -> None:
        if on_gpu:
            torch.cuda.synchronize()

    def longest(seconds: float) -> float:
        """The slowest rank's time: all ranks go on with the same."""
        shared = torch.tensor([seconds], dtype=torch.float32, device=device)
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        return float(shared[0])

    def timed(data: "torch.Tensor", calls: int) -> float:
        longest(0.0)
        done()
        begun = time.perf_counter()
        for _ in range(calls):
            dist.all_reduce(data)
        done()
        return longest(time.perf_counter() - begun)

    dist.init_process_group(own["BACKEND"], timeout=datetime.timedelta(seconds=min(90, limit)))
    rank, ranks = dist.get_rank(), dist.get_world_size()
    say(rank=rank, ranks=ranks, torch=str(torch.__version__))
    moved = calls = 0
    for size in sorted({min(int(word), MOST) for word in own["SIZES"].split(",")}):
        data = torch.full((max(1, size // 4),), float(rank + 1), dtype=torch.float32, device=device)
        dist.all_reduce(data)
        right = float(data[0]) == float(data[-1]) == ranks * (ranks + 1) / 2
        data.zero_()  # a sum of sums would not stay a number
        once = timed(data, 1)
        count = max(1, min(CALLS, int(float(own["SECONDS"]) / max(once, 1e-6))))
        took = timed(data, count)
        moved += size * (count + 2)
        calls += count + 2
        say(bytes=size, calls=count, seconds=took / count, right=right)
        del data
        if on_gpu:
            torch.cuda.empty_cache()
        if once > SLOW:
            break
    say(rank=rank, moved=moved, total=calls)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
    sys.exit(0)
