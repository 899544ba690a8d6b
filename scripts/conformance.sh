#!/bin/sh
# Runs the foundation's conformance cases on every device that evaluates on this machine.
#
#   scripts/conformance.sh DIRECTORY [DEVICE...]
#
# DIRECTORY holds run_suite.py, cases/ and foundation.txt; the devices are interp and cpu unless
# named. ANEMONE is the binary (default target/release/anemone), PYTHON a Python with numpy.
# Exits 0 if every case passes on every device.
set -u
if [ $# -lt 1 ]; then
    echo "usage: $0 DIRECTORY [DEVICE...]" >&2
    exit 2
fi
suite=$1
shift
[ $# -gt 0 ] || set -- interp cpu
anemone=${ANEMONE:-target/release/anemone}
python=${PYTHON:-python3}
if [ ! -x "$anemone" ]; then
    echo "$0: no binary at $anemone; build it, or set ANEMONE" >&2
    exit 2
fi
cases=$(sed '/^[[:space:]]*$/d' "$suite/foundation.txt") || exit 2
wanted=$(printf '%s\n' "$cases" | wc -l)
names=$(printf '%s' "$cases" | paste -s -d '|' -)

scratch=$(mktemp -d) || exit 2
trap 'rm -rf "$scratch"' EXIT
# The suite calls its engine as ENGINE MODEL INPUTS OUTPUTS [FUNCTION].
cat > "$scratch/engine" <<'ENGINE'
#!/bin/sh
exec "$ANEMONE" run "$1" --inputs "$2" --outputs "$3" --weights "$MIL_MODEL_PATH" \
    --device "$DEVICE" ${4:+--function "$4"}
ENGINE
chmod +x "$scratch/engine"

status=0
summary=
for device in "$@"; do
    ANEMONE=$anemone DEVICE=$device MIL_RUN="$scratch/engine" \
        "$python" "$suite/run_suite.py" --text --only "^($names)\$" > "$scratch/log"
    code=$?
    grep '^FAIL' "$scratch/log"
    passed=$(grep -c '^PASS' "$scratch/log")
    # A case that the suite cannot find must not count as passed.
    if [ "$code" -ne 0 ] || [ "$passed" -ne "$wanted" ]; then
        status=1
    fi
    summary="$summary$device: $passed of $wanted passed
"
done
printf '%s' "$summary"
exit $status
