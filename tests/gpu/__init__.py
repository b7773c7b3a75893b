"""The whole life of a real vLLM on CUDA GPUs, between two hosts of namespaces on one machine."""
