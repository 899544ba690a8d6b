#!/bin/sh
# Runs conformance cases on every device that evaluates on this machine: all of them as packages, and
# those of the foundation also as text.
#
#   scripts/conformance.sh DIRECTORY [DEVICE...]
#
# DIRECTORY holds run_suite.py, cases/ and foundation.txt; the devices are interp and cpu unless
# named. ANEMONE is the binary (default target/release/anemone), PYTHON a Python with numpy.
# Exits 0 if every case passes on every device. What a device leaves to the interpreter counts as the
# device's, as `anemone run` does it.
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
foundation=$(sed '/^[[:space:]]*$/d' "$suite/foundation.txt") || exit 2
texts=$(printf '%s\n' "$foundation" | wc -l)
names=$(printf '%s' "$foundation" | paste -s -d '|' -)
packages=$(find "$suite/cases" -mindepth 1 -maxdepth 1 -type d | wc -l)

scratch=$(mktemp -d) || exit 2
trap 'rm -rf "$scratch"' EXIT
# The suite calls its engine as ENGINE MODEL INPUTS OUTPUTS [FUNCTION].
cat > "$scratch/engine" <<'ENGINE'
#!/bin/sh
exec "$ANEMONE" run "$1" --inputs "$2" --outputs "$3" --device "$DEVICE" \
    ${MIL_MODEL_PATH:+--weights "$MIL_MODEL_PATH"} ${4:+--function "$4"}
ENGINE
chmod +x "$scratch/engine"

status=0
# suite DEVICE WANTED WHAT [OPTION...]
run() {
    device=$1 wanted=$2 what=$3
    shift 3
    ANEMONE=$anemone DEVICE=$device MIL_RUN="$scratch/engine" \
        "$python" "$suite/run_suite.py" "$@" > "$scratch/log" 2> "$scratch/notes"
    code=$?
    grep '^FAIL' "$scratch/log"
    passed=$(grep -c '^PASS' "$scratch/log")
    # A case that the suite cannot find must not count as passed.
    if [ "$code" -ne 0 ] || [ "$passed" -ne "$wanted" ]; then
        status=1
    fi
    echo "$device: $passed of $wanted $what passed"
}
for on in "$@"; do
    run "$on" "$packages" packages
    run "$on" "$texts" texts --text --only "^($names)\$"
done
exit $status
