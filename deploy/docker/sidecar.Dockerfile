# syntax=docker/dockerfile:1
# The sidecar, for amd64 and arm64:
#   docker buildx build --platform linux/amd64,linux/arm64 --sbom=true --provenance=true \
#     --tag doctorkafka/sidecar:0.1.0 --file deploy/docker/sidecar.Dockerfile .
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
    CARGO_TARGET_DIR=/target cargo build --release --locked --package doctorkafka-sidecar \
    && install -D /target/release/doctorkafka-sidecar /out/doctorkafka-sidecar

FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="doctorkafka-sidecar" \
      org.opencontainers.image.description="Measures one Kafka broker and publishes a report about it every second" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/doctorkafka/doctorkafka"
COPY --from=build /out/doctorkafka-sidecar /usr/local/bin/doctorkafka-sidecar
# A number, so that a kubelet can tell that it is not root.
USER 65532:65532
EXPOSE 7070
ENTRYPOINT ["/usr/local/bin/doctorkafka-sidecar"]
