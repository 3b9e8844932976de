#!/bin/sh
# Runs one step and says what it is, how it ended and how long it took:
# hack/step.sh NAME COMMAND [ARGUMENT ...]
name=$1
shift
begin=$(date +%s)
echo "==> $name"
"$@"
status=$?
seconds=$(($(date +%s) - begin))
if [ $status -eq 0 ]; then
  echo "<== $name: ok, $seconds s"
else
  echo "<== $name: FAILED (exit $status), $seconds s" >&2
fi
exit $status
