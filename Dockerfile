# The coordinator as an image: one static binary, no shell, no root.
#
# The build stage needs a Go image; GO_IMAGE names another one where the usual
# cannot be had. What is shipped is the last stage alone, and deploy/docker/Dockerfile
# makes the same from a binary that is built already ("make image").
ARG GO_IMAGE=golang:1.26
FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o /out/coordinator ./cmd/coordinator && mkdir /out/data

FROM scratch
COPY --from=build --chown=65532:65532 /out/ /
LABEL org.opencontainers.image.title=coordinator org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.description="A node of a plane, and the command that operates planes"
USER 65532:65532
ENV COORDINATOR_DATA_DIR=/data COORDINATOR_LISTEN=0.0.0.0:7400
EXPOSE 7400
VOLUME /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["/coordinator", "health"]
ENTRYPOINT ["/coordinator"]
CMD ["run"]
