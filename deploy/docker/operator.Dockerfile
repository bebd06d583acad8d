# syntax=docker/dockerfile:1
# The operator, for amd64 and arm64:
#   docker buildx build --platform linux/amd64,linux/arm64 --sbom=true --provenance=true \
#     --tag doctorkafka/operator:0.1.0 --file deploy/docker/operator.Dockerfile .
# `cargo xtask images` does it with what runs on this machine.

# TLS and the Kafka client are C libraries compiled here, so every architecture is built by a builder of its own kind
# (a buildx node, or QEMU).
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# The caches are per architecture; the program leaves its cache before the layer ends.
ARG TARGETARCH
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/usr/local/cargo/git,sharing=locked \
    --mount=type=cache,target=/target,id=doctorkafka-target-${TARGETARCH},sharing=locked \
    CARGO_TARGET_DIR=/target cargo build --release --locked --package doctorkafka-operator \
    && install -D /target/release/doctorkafka-operator /out/doctorkafka-operator

FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="doctorkafka-operator" \
      org.opencontainers.image.description="Watches Kafka brokers, says what ails them, and treats what may be treated" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/doctorkafka/doctorkafka"
COPY --from=build /out/doctorkafka-operator /usr/local/bin/doctorkafka-operator
# A number, so that a kubelet can tell that it is not root.
USER 65532:65532
EXPOSE 3000 3001 9443
ENTRYPOINT ["/usr/local/bin/doctorkafka-operator"]
