"""The ways to verify RDMA, one file each: counters, traffic (live, watch), probe, logs."""
