"""What a host of the rack has in place of its kernel's and its hardware's: programs and files."""

from __future__ import annotations

from pathlib import Path

#: swapon and swapoff: this machine's swap is not the host's, whose /proc/swaps is a file.
SWAP = """\
#!/bin/sh
for name; do :; done
case $0 in
*swapoff)
  grep -q "^$name " /proc/swaps || { echo "swapoff: $name: Invalid argument" >&2; exit 255; }
  sed "\\\\|^$name |d" /proc/swaps > /run/swaps.new ;;
*)
  { cat /proc/swaps; printf '%s                               file\\t\\t98300\\t\\t0\\t\\t-2\\n' \
    "$name"; } > /run/swaps.new ;;
esac
cat /run/swaps.new > /proc/swaps
"""

MODPROBE = """\
#!/bin/sh
[ "$1" = rdma_ucm ] || exit 1
[ -e /dev/infiniband/rdma_cm ] || mknod -m 666 /dev/infiniband/rdma_cm c 1 3
"""

#: There is no udev: the interfaces are there from the start, with their names.
UDEVADM = "#!/bin/sh\nexit 0\n"

#: Locked memory without limit is not for a machine without CAP_SYS_RESOURCE to give.
RUNC = """\
#!/bin/sh
for word; do
  case $last in
  --bundle) file=$word/config.json ;;
  --process) file=$word ;;
  esac
  last=$word
done
[ -z "$file" ] || sed -i 's/"rlimits":\\[[^]]*\\],*//' "$file"
exec /usr/sbin/runc "$@"
"""

#: The host's clock for shells: off by the seconds in /run/skew.
DATE = """\
#!/bin/sh
[ -r /run/skew ] || exec /usr/bin/date "$@"
exec /usr/bin/date -d "$(cat /run/skew) seconds" "$@"
"""

WIFI = """\
[connection]
id=wifi
uuid=6f1b9f4e-0f0a-4c53-9d5c-6b8f4a1d9a01
type=ethernet
interface-name={interface}

[ethernet]

[ipv4]
method=manual
address1={address}/24

[ipv6]
method=disabled
"""

#: The memory of a host that nothing else on this machine changes.
MEMINFO = """\
MemTotal:        8000000 kB
MemFree:         7000000 kB
MemAvailable:    7200000 kB
Cached:           200000 kB
HugePages_Total:       0
HugePages_Free:        0
"""


def rdma_device(folder: Path, interface: str, address: str) -> None:
    """A device whose GID table has the rail's IPv4 address for RoCE v1 and v2, as the kernel's."""
    octets = [int(part) for part in address.partition("/")[0].split(".")]
    gid = "0000:0000:0000:0000:0000:ffff:{:02x}{:02x}:{:02x}{:02x}".format(*octets)
    files = {"state": "4: ACTIVE", "link_layer": "Ethernet", "rate": "200 Gb/sec (2X NDR)"}
    for index, kind in enumerate(("IB/RoCE v1", "RoCE v2")):
        files[f"gids/{index}"] = gid
        files[f"gid_attrs/types/{index}"] = kind
        files[f"gid_attrs/ndevs/{index}"] = interface
    for name in ("port_xmit_data", "port_rcv_data", "port_xmit_packets", "port_rcv_packets"):
        files[f"counters/{name}"] = "0"
    for name, text in files.items():
        path = folder / "ports/1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
