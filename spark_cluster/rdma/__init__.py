"""The RDMA proof: counters, GIDs, NCCL's log, and the verdict. No I/O: scripts out, text in."""
