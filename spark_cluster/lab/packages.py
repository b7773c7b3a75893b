"""What is installed in the nodes and in the engine's container image."""

from __future__ import annotations

_COMMON = (
    "ca-certificates",
    "curl",
    "dbus",
    "docker.io",
    "ethtool",
    "ibverbs-providers",
    "ibverbs-utils",
    "initramfs-tools",
    "iperf3",
    "iproute2",
    "iptables",
    "iputils-ping",
    "kmod",
    "netplan.io",
    "network-manager",
    "openssh-server",
    "perftest",
    "procps",
    "prometheus",
    "prometheus-node-exporter",
    "python3",
    "python3-pyverbs",
    "qemu-guest-agent",
    "rdma-core",
    "rsync",
    "sudo",
    "systemd-sysv",
    "udev",
    "zstd",
)

_KERNEL = {
    "debian": ("linux-image-amd64", "docker-cli"),
    # rdma_rxe is among the extra modules that only the generic image brings
    "ubuntu": ("linux-image-generic",),
}


def node_packages(distro: str) -> tuple[str, ...]:
    return tuple(sorted((*_COMMON, *_KERNEL[distro])))


ENGINE_PACKAGES = ("ibverbs-providers", "iproute2", "python3", "python3-pyverbs")
"""Of a node's packages, those that the engine's container has too, with what they need."""


DISABLED_UNITS = (
    "iperf3.service",
    "prometheus.service",
    "prometheus-node-exporter.service",
)
"""A Spark does not run them; `monitor up --packages` starts the same programs as units of ours."""

MASKED_UNITS = (
    "NetworkManager-wait-online.service",
    "apt-daily-upgrade.service",
    "apt-daily-upgrade.timer",
    "apt-daily.service",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "iwpmd.service",
    "man-db.timer",
    "motd-news.timer",
    "rdma-ndd.service",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-pstore.service",
    "systemd-tpm2-setup-early.service",
    "systemd-tpm2-setup.service",
    "ldconfig.service",
    "sshd-keygen.service",
    "dev-hugepages.mount",
    "modprobe@configfs.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "systemd-hibernate-clear.service",
    "systemd-update-done.service",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "ua-timer.timer",
    "ubuntu-advantage.service",
    "udisks2.service",
    "wpa_supplicant.service",
    "ModemManager.service",
)
"""Nothing a Spark's bring-up looks at, and together more than half of the boot under TCG."""
