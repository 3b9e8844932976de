#!/bin/sh
# Builds the image that the charts run, without Docker, as a file for docker
# load, ctr images import or crane push:
#
#	hack/image.sh NAME:TAG ARCH OUT.tar VERSION
#
# ARCH is amd64 or arm64.
set -eu
cd "$(dirname "$0")/.."
name=$1 arch=$2 out=$3 version=$4
case "$out" in /*) ;; *) out=$PWD/$out ;; esac

folder=$PWD/bin/image/$arch
mkdir -p "$folder" "$(dirname "$out")"
# No paths and no revision inside: the same source gives the same bytes.
CGO_ENABLED=0 GOOS=linux GOARCH=$arch go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$version" \
  -o "$folder/" ./cmd/manager ./cmd/fairlead
GOWORK=off go -C hack/image run . -name "$name" -platform "linux/$arch" -version "$version" -out "$out" "$folder/manager" "$folder/fairlead"
