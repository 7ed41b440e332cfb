#!/usr/bin/env bash
# Runs the lab's cases: all of them, or those that match a pattern.
#
#   hack/lab.sh FILE-FOR-SKIPPED-TESTS [PATTERN]
#
# A node takes one and a half of two processors at most, and a node with one
# processor does the same work with less. So the cases on pods' networks run on
# such a node beside the others; those that measure, and those that boot a node
# and look at its times, have the machine for themselves.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
skipped=$1
pattern=${2:-}

alone='^(TestBoot.*|TestDriftIsRepaired|TestIdle|TestKubeletRestarts|TestSingleNUMANode|TestTimeToVFs|TestUplinkEvidence)$'
networks='^(TestCNIInstalled|TestCNIPlugin|TestFiftyPods|TestNetworkAfterPowerCut|TestPodNetworks)$'

cd "$root/test/lab"
mkdir -p "$root/_out"
(cd "$root" && go build -o _out/testsum ./hack/testsum)
cases() { go test -p 1 -count=1 -timeout 50m -json "$@" | "$root/_out/testsum" -v -skipped "$skipped"; }

if [ -n "$pattern" ]; then
  cases ./e2e/... -run "$pattern"
  exit
fi

failed=0
cases ./e2e -run "$alone" || failed=1

log=$root/_out/lab-networks.log
echo "lab: the cases on pods' networks run beside the next ones; their output comes after them"
set -m # a process group of its own, to end it with
LAB_CPUS=1 cases ./e2e -run "$networks" >"$log" 2>&1 &
beside=$!
set +m
trap 'kill -- "-$beside" 2>/dev/null || true' EXIT
cases ./e2e -skip "${alone%)\$}|${networks#^(}" || failed=1
wait "$beside" || failed=1
trap - EXIT
cat "$log"

cases ./e2e/cni ./e2e/kernel ./e2e/rig || failed=1
[ "$failed" = 0 ] || echo "lab: some cases failed, see above"
exit "$failed"
