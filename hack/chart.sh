#!/bin/sh
# Keeps the charts' copies of generated manifests: hack/chart.sh sync | check
#
#   sync   copies the CRDs into charts/fairlead-crds, and the operator's rights,
#          the alerts and the admission policy into charts/fairlead
#   check  fails if a copy is not what sync would write, with the difference
#
# Helm can read nothing outside of a chart's folder, so it needs copies.
set -eu
cd "$(dirname "$0")/.."
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
trap 'exit 1' INT TERM

header='# Copied by hack/chart.sh from'

# definition FILE: a CRD as a template: it gets the chart's labels, stays when
# the chart is uninstalled, and carries the number that is never to fall.
definition() {
  if grep -q '{{' "$1"; then
    echo "$1 has {{ in it, which Helm would take for its own" >&2
    return 1
  fi
  echo "$header $1."
  awk '
    function labels() { print "    {{- include \"fairlead-crds.labels\" . | nindent 4 }}" }
    /^---$/ { next }
    /^metadata:$/ { meta = 1 }
    meta && /^  labels:$/ { print; labels(); labelled = 1; next }
    meta && /^  name:/ { if (!labelled) { print "  labels:"; labels() } meta = 0 }
    { print }
    meta && /^  annotations:$/ {
      print "    helm.sh/resource-policy: keep"
      print "    rpc.fairlead.dev/definitions: {{ include \"fairlead-crds.number\" . | quote }}"
      annotated = 1
    }
    END { if (!annotated) { print "no annotations" > "/dev/stderr"; exit 1 } }' "$1"
}

# copy FROM TO
copy() {
  mkdir -p "$made/$(dirname "$2")"
  { echo "$header $1."; cat "$1"; } >"$made/$2"
}

make_all() {
  mkdir -p "$made/charts/fairlead-crds/templates"
  for file in config/crd/bases/*.yaml; do
    name=${file##*_}
    definition "$file" >"$made/charts/fairlead-crds/templates/$name"
  done
  copy config/rbac/role.yaml charts/fairlead/files/role.yaml
  copy config/prometheus/rules.yaml charts/fairlead/files/rules.yaml
  for file in config/admission/policy.yaml config/admission/binding.yaml; do
    [ ! -f "$file" ] || copy "$file" "charts/fairlead/files/admission-${file##*/}"
  done
}

# copies lists the files that were copied, here and there.
copies() { (cd "$1" && grep -rl "^$header" charts 2>/dev/null | sort) || true; }

case "${1:-}" in
  sync)
    make_all
    for file in $(copies "$made"); do
      cmp -s "$made/$file" "$file" && continue
      mkdir -p "$(dirname "$file")"
      cp "$made/$file" "$file"
      echo "wrote $file"
    done
    for file in $(copies .); do
      [ -f "$made/$file" ] || { rm "$file"; echo "removed $file, which is a copy of nothing any more"; }
    done
    ;;
  check)
    make_all
    current=yes
    for file in $(copies "$made"); do diff -u "$file" "$made/$file" || current=no; done
    for file in $(copies .); do
      [ -f "$made/$file" ] || { echo "$file: a copy of nothing any more"; current=no; }
    done
    [ $current = yes ] || { echo "the charts' copies are not current: run hack/chart.sh sync" >&2; exit 1; }
    ;;
  *)
    echo "usage: hack/chart.sh sync | check" >&2
    exit 2
    ;;
esac
