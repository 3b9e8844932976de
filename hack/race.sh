#!/bin/sh
# Prints -race if this machine can build with the race detector, which needs a
# C compiler; says so on standard error and prints nothing if it cannot.
cc=$(go env CC)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
printf '#include <stdlib.h>\nint main(void) { return EXIT_SUCCESS; }\n' >"$dir/try.c"
# shellcheck disable=SC2086 # CC may carry flags
if [ "$(go env CGO_ENABLED)" = 1 ] && $cc -o "$dir/try" "$dir/try.c" 2>/dev/null; then
  echo -race
else
  echo "no C compiler ($cc) works here, or cgo is off: tests run WITHOUT the race detector" >&2
fi
