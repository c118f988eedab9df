# The service, and the certificates that TLS needs: built in one stage, run in another as a user without rights on a
# read-only root file system. `make image-check` takes the same steps without a container engine.
#   docker build -t state-tracker .
#   docker run --read-only -p 9094:9094 -e REDIS_HOST=… -e PROTOCOL_STATE_CONTRACT=… -e DATA_MARKET_ADDRESSES=… state-tracker

FROM docker.io/library/rust:1.95-slim-bookworm AS build
# The allocator is C code with a makefile; the image has a C compiler.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY src src
COPY actors actors
COPY crates crates
COPY config config
COPY benches benches
COPY tests tests
RUN cargo build --release --locked --package state-tracker --bin state-tracker \
    && strip target/release/state-tracker

FROM docker.io/library/debian:bookworm-slim
# The certificates of authorities, which nodes by https and wss and Redis by TLS are checked against.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin state-tracker
COPY --from=build /src/target/release/state-tracker /usr/local/bin/state-tracker
USER 10001
# /metrics, /livez and /readyz; the operator's endpoint stays on 127.0.0.1 inside the container.
EXPOSE 9094
STOPSIGNAL SIGTERM
# Asks /readyz at the port of the configuration. An orchestrator that restarts what is unhealthy should ask /livez:
# waiting for Redis is no reason for a restart.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["state-tracker", "healthcheck"]
ENTRYPOINT ["state-tracker"]
CMD ["run"]
