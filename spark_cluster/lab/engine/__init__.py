"""The GPU's stand-in: `ray`, `vllm serve` and `nvidia-smi` for machines that have no GPU.

Only the GPU is imitated. Processes, sockets, RDMA devices, memory and files are real.
The folder runs on its own (standard library and pyverbs), away from the rest of the project.
"""
