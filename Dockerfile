# The coordinator as an image: one static binary, no shell, no root.
#
# The build stage needs a Go image; GO_IMAGE names another one where the usual
# cannot be had. What is shipped is the last stage alone.
ARG GO_IMAGE=golang:1.26
FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o /out/coordinator ./cmd/coordinator && mkdir /out/data

FROM scratch
COPY --from=build --chown=65532:65532 /out/ /
USER 65532:65532
ENV COORDINATOR_DATA_DIR=/data COORDINATOR_LISTEN=0.0.0.0:7400
EXPOSE 7400
VOLUME /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["/coordinator", "health"]
ENTRYPOINT ["/coordinator"]
CMD ["run"]
