#!/bin/sh
# Runs one Kafka node as the image apache/kafka does: every variable KAFKA_SOME_NAME becomes some.name, with two
# underscores for one and three for a dash.
set -eu
properties=/tmp/server.properties
env | while IFS='=' read -r name value; do
  case $name in
  KAFKA_HEAP_OPTS | KAFKA_OPTS | KAFKA_JVM_PERFORMANCE_OPTS | KAFKA_JMX_* | KAFKA_PORT | KAFKA_PORT_* | KAFKA_SERVICE_*) ;;
  KAFKA_*)
    key=$(printf %s "${name#KAFKA_}" | tr '[:upper:]' '[:lower:]' | sed 's/___/-/g; s/__/\t/g; s/_/./g; s/\t/_/g')
    printf '%s=%s\n' "$key" "$value"
    ;;
  esac
done > "$properties"
if ! grep -q '^log.dirs=' "$properties"; then
  echo "no variable KAFKA_LOG_DIRS: this image has no defaults" >&2
  exit 1
fi
if ! grep -q '^process.roles=' "$properties"; then
  echo "no variable KAFKA_PROCESS_ROLES: this image has no defaults" >&2
  exit 1
fi
java() {
  exec /opt/java/bin/java "$@"
}
# Once: a JVM of its own takes as long to start as the broker's.
if ! [ -e "${KAFKA_LOG_DIRS%%,*}/meta.properties" ]; then
  (java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp '/opt/kafka/libs/*' kafka.tools.StorageTool format \
    --ignore-formatted --cluster-id "${CLUSTER_ID:-5L6g3nShT-eMCtK--X86sw}" --config "$properties")
fi
# shellcheck disable=SC2086 # several options in one variable
java ${KAFKA_HEAP_OPTS:--Xmx256m -Xms256m} -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.awt.headless=true \
  -Dlog4j2.configurationFile=/opt/kafka/config/log4j2.properties ${KAFKA_OPTS:-} \
  -cp '/opt/kafka/libs/*' kafka.Kafka "$properties"
