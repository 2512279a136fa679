# An image with the daemon, its libraries and certificates; without shell, package manager and root.
#
#   docker build -t bday --build-arg VERSION=1.0.0 --build-arg REVISION="$(git rev-parse HEAD)" .
#
# For amd64 and arm64, native or emulated (`docker buildx build --platform …`).

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
ENV CARGO_TERM_COLOR=never

# Build the dependencies with an empty program. This layer changes only with them.
COPY Cargo.toml Cargo.lock ./
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    for path in $(sed -n 's/^path = "\(.*\)"/\1/p' Cargo.toml); do \
        mkdir -p "$(dirname "$path")" && echo 'fn main() {}' > "$path"; \
    done \
    && echo > src/lib.rs \
    && cargo build --locked --release --bin bday \
    && rm -rf src tests benches

COPY . .
# Cargo compares modification times, and the copied sources are older than the empty program.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    touch src/lib.rs src/main.rs && cargo build --locked --release --bin bday

# Files needed at run time. The time zones are compiled in.
RUN mkdir -p /out/etc/ssl/certs /out/usr/local/bin \
    && cp target/release/bday /out/usr/local/bin/ \
    && ldd target/release/bday | grep -o '/[^ ]*' | xargs -n 1 -I{} cp --parents -L {} /out \
    && cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ \
    && cp deploy/aws/rds-global-bundle.pem /out/etc/ssl/certs/ \
    && echo 'nonroot:x:65532:65532:nonroot:/nonexistent:/sbin/nologin' > /out/etc/passwd \
    && echo 'nonroot:x:65532:' > /out/etc/group \
    && echo 'hosts: files dns' > /out/etc/nsswitch.conf \
    && chmod -R a+rX /out

FROM scratch
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="bday" \
      org.opencontainers.image.description="Sends each user a greeting on their birthday at 09:00 in their own time zone" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /out /
ENV PATH=/usr/local/bin \
    BDAY__HTTP__LISTEN=0.0.0.0:8080
USER 65532:65532
EXPOSE 8080
# On SIGTERM, bday takes no new work, finishes requests in flight, and exits with 0.
STOPSIGNAL SIGTERM
# Liveness, not readiness: Swarm replaces unhealthy containers, which does not help while the database is unavailable.
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 CMD ["bday", "healthcheck", "--live"]
ENTRYPOINT ["bday"]
CMD ["serve"]
