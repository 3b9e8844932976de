#!/usr/bin/env bash
# Runs the end-to-end tests that make e2e-build has built, on the cluster of
# KUBECONFIG. Words in E2EFLAGS are flags for them.
#
# With E2E_RETRY=1 each scenario that failed is run once more, by itself, in an
# empty namespace. If it works then, the run counts as passed and the line that
# starts with FLAKE says so: what happened is a defect all the same.
set -euo pipefail
set -f # E2EFLAGS may have patterns in it
cd "$(dirname "$0")/../test/e2e"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# run FLAG...: the tests; what they print is kept in the log.
run() { ../../bin/e2e/e2e.test -test.v -test.timeout 15m "$@" </dev/null 2>&1 | tee "$log"; }

# outcomes: scenarios in the log that failed, each with what the test said.
outcomes() { sed -n 's/^e2e: \([a-z]*\): FAILED[,:] */\1 /p' "$log"; }

# shellcheck disable=SC2086 # words
run ${E2EFLAGS:-} && exit 0
[ "${E2E_RETRY:-}" = 1 ] || exit 1
failed=$(outcomes)
case "$failed" in
"") exit 1 ;; # not a scenario: a crash, or no time left
install\ * | *$'\n'install\ *)
  # Whatever comes after an installation that failed was not run at all.
  # shellcheck disable=SC2086 # words
  set -- ${E2EFLAGS:-}
  if run "$@"; then
    echo "FLAKE install: first FAILED ($(sed -n 's/^install //p' <<<"$failed")), then everything ok"
    exit 0
  fi
  echo "FAILED: install first ($(sed -n 's/^install //p' <<<"$failed")), then: $(outcomes | tr '\n' ';')"
  exit 1
  ;;
esac
code=0
flakes=()
while read -r name why; do
  echo "e2e: $name: once more"
  if run -test.run "^TestE2E\$/^(install|$name)\$"; then
    flakes+=("FLAKE $name: first FAILED ($why), then ok")
  else
    flakes+=("FAILED twice: $name: first ($why), then ($(outcomes | sed -n "s/^$name //p"))")
    code=1
  fi
done <<<"$failed"
printf '%s\n' "${flakes[@]}"
exit "$code"
