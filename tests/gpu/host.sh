# Makes this process's namespaces a host: NAME GPU COMMAND... The GPU is the number of a device file,
# or empty. What a launch writes on a host lies in memory, and only here.
set -e
name=$1 gpu=$2
shift 2
mount --make-rprivate /
mount -t sysfs sysfs /sys
for folder in /tmp /run /var/lib/spark-cluster /usr/local/lib/spark-cluster /etc/systemd/system; do
  mkdir -p "$folder"
  mount -t tmpfs -o mode=755 tmpfs "$folder"
done
chmod 1777 /tmp
mkdir /run/lock

# Devices of its own: one GPU of those that this machine has.
mount -t tmpfs -o mode=755 tmpfs /mnt
for device in null zero full random urandom tty; do cp -a "/dev/$device" /mnt/; done
mkdir /mnt/pts /mnt/shm
mount --bind /dev/pts /mnt/pts
ln -s pts/ptmx /mnt/ptmx
ln -s /proc/self/fd /mnt/fd
ln -s fd/0 /mnt/stdin
ln -s fd/1 /mnt/stdout
ln -s fd/2 /mnt/stderr
for device in nvidiactl nvidia-uvm nvidia-uvm-tools nvidia-modeset nvidia-caps \
  nvidia-caps-imex-channels ${gpu:+"nvidia$gpu"}; do
  [ ! -e "/dev/$device" ] || cp -a "/dev/$device" /mnt/
done
mount -t tmpfs tmpfs /mnt/shm
chmod 1777 /mnt/shm
mount --move /mnt /dev
# The driver must not make the others' device files again.
if [ -e /proc/driver/nvidia/params ]; then
  sed 's/^ModifyDeviceFiles: 1/ModifyDeviceFiles: 0/' /proc/driver/nvidia/params \
    >/run/nvidia-params
  mount --bind /run/nvidia-params /proc/driver/nvidia/params
fi
echo "$name" >/proc/sys/kernel/hostname
exec "$@"
