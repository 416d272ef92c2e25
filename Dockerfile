# tango's image where base images can be pulled:
#   docker build --tag jop_tango:$(cat jop.version) .
# Without a registry deploy/images/build.sh makes the same image from a program that is built already.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock askama.toml ./
COPY config config
COPY migrations migrations
COPY static static
COPY src src
RUN cargo build --locked --profile dist --bin tango \
    && install -D -m 0755 target/dist/tango /out/usr/bin/tango \
    && install -d -m 0755 /out/etc/tango /out/data/ssl

# glibc, libgcc and the certificates of authorities, nothing else: no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/ /
# The same number as in the image that build.sh makes: secrets are given to it.
USER 10001:10001
WORKDIR /etc/tango
ENV DATA_DIR=/tmp/tango LISTEN=0.0.0.0:3031
EXPOSE 3031
HEALTHCHECK --interval=5s --timeout=6s --start-period=60s --retries=3 CMD ["/usr/bin/tango", "healthcheck"]
ENTRYPOINT ["/usr/bin/tango"]
