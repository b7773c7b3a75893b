#!/bin/sh
# The first program of a host, in namespaces of its own: $1 its folder, $2 its name. Lays out what a
# machine's firmware and kernel would, and becomes systemd.
#
# Real: systemd, sshd, sudo, NetworkManager, netplan, docker, flock. Played, because these are the
# kernel's and the kernel is this machine's: swap, modules, memory, RDMA devices, the boot's id.
set -eu
folder=$1 name=$2 root=$1/root

mount --make-rprivate /
mount --bind "$root" "$root"
mount --bind "$folder/docker" "$root/var/lib/docker"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/infiniband"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"

# Settings of this machine's kernel are not the host's to change, but for those of its network.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount --bind "$root/proc/sys/net" "$root/proc/sys/net"
cat /proc/sys/kernel/random/uuid > "$root/run/boot_id"
mount --bind "$root/run/boot_id" "$root/proc/sys/kernel/random/boot_id"
echo "$name" > /proc/sys/kernel/hostname
mount -o remount,ro,bind "$root/proc/sys"
[ ! -e /proc/sysrq-trigger ] || mount --bind /dev/null "$root/proc/sysrq-trigger"

# Swap is on after each boot if fstab says so; the programs swapon and swapoff edit this file.
printf 'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n' > "$root/run/swaps"
grep -qE '^[^#]+[[:space:]]swap[[:space:]]' "$root/etc/fstab" &&
  printf '/swap.img                               file\t\t98300\t\t0\t\t-2\n' >> "$root/run/swaps"
mount --bind "$root/run/swaps" "$root/proc/swaps"
mount --bind "$folder/meminfo" "$root/proc/meminfo"
if cat "$root"/etc/modules-load.d/*.conf 2>/dev/null | grep -qx rdma_ucm; then
  mknod -m 666 "$root/dev/infiniband/rdma_cm" c 1 3
fi

# /sys/class with the interfaces of this network namespace, and RDMA devices that are files.
mount -t sysfs -o ro sysfs "$root/sys"
mkdir "$folder/class-net" 2>/dev/null || true
mount --bind "$root/sys/class/net" "$folder/class-net"
mount -t tmpfs -o mode=755 tmpfs "$root/sys/class"
mkdir "$root/sys/class/net" "$root/sys/class/infiniband"
mount --move "$folder/class-net" "$root/sys/class/net"
cp -a "$folder/infiniband/." "$root/sys/class/infiniband/"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"

cd "$root"
mkdir -p .old
pivot_root . .old
umount -l /.old
# The clock and the modules of this machine stay out of reach.
exec env -i container=spark-faults PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  setpriv --bounding-set=-sys_time,-sys_module,-sys_boot /sbin/init </dev/null >/dev/null 2>&1
