# The image of the operator, with the command line in it:
#
#	docker build --build-arg VERSION=v0.1.0 -t ghcr.io/fairlead/fairlead:0.1.0 .
#
# make image makes the same without Docker.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS=linux TARGETARCH VERSION=dev
WORKDIR /src
# What modules are needed changes less often than the code.
COPY go.mod go.sum go.work go.work.sum ./
COPY rpcruntime/go.mod rpcruntime/go.sum rpcruntime/
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X main.version=$VERSION" -o /out/ ./cmd/manager ./cmd/fairlead

# Nothing else is needed: the programs are static, trust the CAs that they are given, and write no files.
FROM scratch
ARG VERSION=dev
LABEL org.opencontainers.image.title="Fairlead" \
      org.opencontainers.image.source="https://github.com/fairlead/fairlead" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION"
COPY --from=build /out/manager /out/fairlead /
USER 65532:65532
WORKDIR /
ENTRYPOINT ["/manager"]
