//go:build !mutant_nofence && !mutant_trustcampaign

package etcdstore_test

import (
	"os/exec"
	"strings"
	"testing"
)

// A test that cannot fail proves nothing. These builds break one rule each, and
// the tests named must notice.
func TestMutants_AreCaught(t *testing.T) {
	mutants := map[string]string{
		"mutant_nofence":       "TestFence_RefusesADeposedMasterThatDoesNotKnow",
		"mutant_trustcampaign": "TestCampaign_DeadCandidateNeverHoldsATerm",
	}
	for tag, catcher := range mutants {
		t.Run(tag, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), "go", "test", "-tags", tag, "-run", "^"+catcher+"$", ".").CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: "+catcher) {
				t.Errorf("%s does not fail on it: %v\n%s", catcher, err, out)
			}
		})
	}
}
