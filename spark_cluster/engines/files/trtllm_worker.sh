set -eu
umask 077
export -p > /run/spark-cluster.env
if ! command -v sshd >/dev/null && [ ! -x /usr/sbin/sshd ]; then
  echo "spark-cluster: the image has no sshd; installing openssh-server"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends openssh-server
fi
mkdir -p /run/sshd
cp /etc/spark-cluster/host_key.mounted /etc/spark-cluster/host_key
exec /usr/sbin/sshd -D -e -f /etc/spark-cluster/sshd_config
