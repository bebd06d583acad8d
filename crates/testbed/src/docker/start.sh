# Runs a Docker engine as all that there is in its namespaces of networks, mounts and process ids: process 1 of the
# last. When that is killed the kernel kills every container, and every mount goes.
#
# Arguments: a folder for what is written outside of the engine's own folders; then dockerd with its options. /run and
# what is written below /etc and /opt are its own.
set -eu
folder=$1
shift
mount -t tmpfs tmpfs /run
for place in etc opt; do
  mkdir -p "$folder/$place/upper" "$folder/$place/work"
  mount -t overlay overlay -o "lowerdir=/$place,upperdir=$folder/$place/upper,workdir=$folder/$place/work" "/$place"
done
ip link set lo up
"$@" &
# Also reaps what containers leave to process 1.
wait
