#!/bin/sh
# Makes the generated files: hack/generate.sh code | manifests | check
#
#   code       deep copies of the API's types, and Go for every .proto file
#   manifests  the CRDs in config/crd/bases, and the operator's rights in config/rbac/role.yaml
#   check      makes both elsewhere and fails if the tree's differ, with the
#              difference; needs no git and does not mind other changes
#
# All is first made in a folder of its own and then put in place, so that a
# generator that fails leaves the tree as it was, and files that nothing makes
# any more go away.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
trap 'exit 1' INT TERM

controller_gen() { GOWORK=off go tool -modfile=hack/tools/go.mod controller-gen "$@"; }

# sources NAME: files of ours with such a name, relative to the root.
sources() {
  find . \( -name '.?*' -o -name testdata -o -path ./bin -o -path ./hack \) -prune -o -type f -name "$1" -print | sed 's,^\./,,' | sort
}

make_code() {
  for version in api/*/; do
    mkdir -p "$made/$version"
    controller_gen object:headerFile=hack/boilerplate.go.txt paths="./$version..." output:object:dir="$made/$version"
  done
  protos=$(sources '*.proto')
  # shellcheck disable=SC2086 # a list of names without spaces
  [ -z "$protos" ] || GOWORK=off go -C hack/tools run ./protogen -root "$root" -out "$made" $protos
}

make_manifests() {
  controller_gen crd paths=./api/... output:crd:artifacts:config="$made/config/crd/bases"
  controller_gen rbac:roleName=fairlead-manager paths=./controllers/... output:rbac:artifacts:config="$made/config/rbac"
}

# generated KIND: the files of that kind that the tree has now.
generated() {
  case "$1" in
    code) sources 'zz_generated.*.go'; sources '*.pb.go' ;;
    manifests) [ ! -d config/crd/bases ] || find config/crd/bases -name '*.yaml' ;;
  esac
}

# place and compare take one file that was made, relative to the root.
place() {
  cmp -s "$made/$1" "$1" && return
  mkdir -p "$(dirname "$1")"
  cp "$made/$1" "$1.new"
  mv "$1.new" "$1"
  echo "wrote $1"
}
compare() { diff -u "$1" "$made/$1" || current=no; }

# files lists what was made, and leftover what nothing makes any more.
files() { (cd "$made" && find . -type f | sed 's,^\./,,' | sort); }
leftover() {
  for file in $(generated "$1"); do
    [ -f "$made/$file" ] || echo "$file"
  done
}

case "${1:-}" in
  code | manifests)
    "make_$1"
    for file in $(files); do place "$file"; done
    for file in $(leftover "$1"); do
      rm "$file"
      echo "removed $file, which nothing makes any more"
    done
    ;;
  check)
    make_code
    make_manifests
    current=yes
    for file in $(files); do compare "$file"; done
    for file in $(leftover code) $(leftover manifests); do
      echo "$file: nothing makes this file any more"
      current=no
    done
    if [ $current = no ]; then
      echo "generated files are not current: run make generate manifests" >&2
      exit 1
    fi
    ;;
  *)
    echo "usage: hack/generate.sh code | manifests | check" >&2
    exit 2
    ;;
esac
