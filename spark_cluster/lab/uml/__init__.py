"""User-mode Linux: the nodes' kernel as a process, at native speed where there is no KVM."""
