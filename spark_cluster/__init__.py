"""Serve large models on two to eight NVIDIA DGX Sparks over RDMA."""

__version__ = "0.1.0"
