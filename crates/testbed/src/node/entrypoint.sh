#!/bin/sh
# A command takes the broker's place, as it does in the original.
set -eu
[ $# -gt 0 ] || set -- /etc/kafka/docker/run
exec "$@"
