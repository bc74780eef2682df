# A static binary and what it needs of a system: CA certificates and a place
# for spill files. Time zones are inside the binary. No shell, no root.
# test/image checks this file's promises without a container engine.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
ARG COMMIT=unknown
RUN make build VERSION="$VERSION" COMMIT="$COMMIT" && mkdir -m 0700 bin/state

FROM scratch
ARG VERSION=dev
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="rotator" \
      org.opencontainers.image.description="Rotates Sinch access keys into Vault, with an audit log in Postgres" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /src/bin/state /var/lib/rotator
COPY --from=build /src/bin/rotator /rotator
ENV ROTATOR_LISTEN=:9464
USER 65532:65532
WORKDIR /var/lib/rotator
VOLUME /var/lib/rotator
EXPOSE 9464
ENTRYPOINT ["/rotator"]
CMD ["serve"]
