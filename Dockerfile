# The images of this workspace: the aggregator, which is what `docker build .` makes, and the example backend `inventory`
# (`--target inventory`), a member of the same workspace that shares nearly all of its dependencies.
#
# Everything here is understood by Docker's classic builder too.

ARG RUST_IMAGE=rust:1.95-trixie
ARG DEBIAN_IMAGE=debian:trixie-slim

FROM ${RUST_IMAGE} AS build
WORKDIR /src
# Backtraces keep their names; what only a debugger reads stays out.
ENV CARGO_PROFILE_RELEASE_STRIP=debuginfo
# The dependencies alone, of a workspace that is nothing but its manifests: this layer lasts as long as they do.
COPY Cargo.toml Cargo.lock ./
COPY bridge/Cargo.toml bridge/
COPY examples/inventory/Cargo.toml examples/inventory/
RUN mkdir -p src bridge/src bridge/benches examples/inventory/src benches/aggregation benches/hop tests/integration tests/compose \
 && for file in build.rs src/main.rs benches/aggregation/main.rs benches/hop/main.rs tests/integration/main.rs \
      tests/compose/main.rs bridge/build.rs bridge/benches/transcode.rs examples/inventory/build.rs \
      examples/inventory/src/main.rs; do echo 'fn main() {}' > "$file"; done \
 && touch src/lib.rs bridge/src/lib.rs examples/inventory/src/lib.rs \
 && cargo build --release --locked --bins -p kubridge -p inventory \
 # What was made of the empty files must not be taken for ours.
 && cargo clean --release -p kubridge -p kubridge-bridge -p inventory
COPY . .
RUN cargo build --release --locked --bins -p kubridge -p inventory

# What both run on: one user, who owns /data and nothing else.
FROM ${DEBIAN_IMAGE} AS runtime
RUN groupadd --system --gid 65532 kubridge \
 && useradd --system --uid 65532 --gid kubridge --home-dir /data --no-create-home --shell /usr/sbin/nologin kubridge \
 && install -d -o kubridge -g kubridge -m 0700 /data
USER 65532:65532
WORKDIR /data

FROM runtime AS inventory
COPY --from=build /src/target/release/inventory /usr/local/bin/
EXPOSE 50051
HEALTHCHECK --interval=2s --timeout=3s --start-period=10s --retries=3 CMD ["inventory", "--health-check"]
ENTRYPOINT ["inventory"]
CMD ["--listen", "0.0.0.0:50051", "--db", "/data/inventory.db"]

FROM runtime AS kubridge
# The system's authorities, for HTTPS backends without a caBundle.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /src/target/release/kubridge /usr/local/bin/
ENV KUBRIDGE_DATA_DIR=/data KUBRIDGE_LISTEN=:6443 KUBRIDGE_METRICS_LISTEN=:9090
EXPOSE 6443 9090
HEALTHCHECK --interval=2s --timeout=5s --start-period=10s --retries=3 CMD ["kubridge", "healthcheck"]
ENTRYPOINT ["kubridge"]
CMD ["serve"]
