package mutants

// waits break what keeps a plane from waiting for one node forever.
func waits() []Mutant {
	return []Mutant{
		{
			Name: "stuck-candidate-stays", Invariant: "I-28", Rule: "a candidate whose attempts fail makes room for others",
			Edits: []Edit{
				{"internal/policy/candidate.go", "case failing >= limit:", "case failing < 0:"},
			},
			Catchers: []Catcher{{Package: nodes, Test: "TestStuck_TheOnlyCandidateGoesOnTrying/claim"}},
		},
		{
			Name: "stuck-master-stays", Invariant: "I-28", Rule: "an elected node that makes no progress gives its term up",
			Edits: []Edit{{
				"coordinator/promote.go",
				"return time.Since(began) >= driver.StallLimit(l.store.TTL())", "return time.Since(began) < 0",
			}},
			Catchers: []Catcher{{Package: nodes, Test: "TestStuck_AnotherNodeLeads/it_may_not_announce_itself", Says: "c does not lead"}},
		},
		{
			Name: "silence-keeps-lease", Invariant: "I-28", Rule: "a lease is not kept for a node whose requests etcd does not answer",
			Edits: []Edit{{
				"etcdstore/lease.go",
				"case <-silence.C:", "case <-make(chan int):",
			}},
			Catchers: []Catcher{{Package: store, Test: "TestStuck_RequestsGoNowhere/master", Says: "c is HOT_STANDBY after"}},
		},
		{
			Name: "queue-is-law", Invariant: "I-28", Rule: "a vacancy that lasts is filled out of turn",
			Edits: []Edit{{
				"coordinator/standby.go",
				"if !named && !late {", "if !named {",
			}},
			Catchers: []Catcher{{Package: nodes, Test: "TestStray_KeepsNobodyFromLeading", Says: "a does not lead"}},
		},
		{
			// stuck-candidate-stays and queue-is-law: either rule is enough where only one
			// node is in the way.
			Name: "stuck-candidate-is-waited-for", Invariant: "I-28", Rule: "one candidate that may not begin a term keeps nobody from leading",
			Edits: []Edit{
				{"internal/policy/candidate.go", "case failing >= limit:", "case failing < 0:"},
				{"coordinator/standby.go", "if !named && !late {", "if !named {"},
			},
			Catchers: []Catcher{inFleet("stuck-candidate-is-waited-for", "TestFleet_CandidatesThatAreDenied", "I-28: ")},
		},
		{
			Name: "stray-key-counts", Invariant: "I-2", Rule: "a key without a lease in the election holds no term",
			Edits: []Edit{{
				"etcdstore/plane.go",
				"if kv.Lease == 0 || p.keys.candidate(clientv3.LeaseID(kv.Lease)) != key {", "if kv.Lease < 0 {",
			}},
			Catchers: []Catcher{contract("A_key_that_is_nobody's_in_the_holder's_place_holds_no_term")},
		},
		{
			Name: "pause-outlives-its-end", Invariant: "I-28", Rule: "a pause is over at its end, whatever becomes of its key",
			Edits: []Edit{{
				"etcdstore/candidacy.go",
				"if p.pause.Over(time.Now()) {", "if p.pause == nil && time.Now().IsZero() {",
			}},
			Catchers: []Catcher{{Package: store, Test: "TestPause_IsOverThoughItsKeyStays"}},
		},
		{
			Name: "any-number-is-a-term", Invariant: "I-3", Rule: "a number from which terms cannot rise is none",
			Edits: []Edit{{
				"etcdstore/plane.go",
				"(h.Term < 1 || h.Term > driver.MaxTerm)", "h.Term == 0",
			}},
			Catchers: []Catcher{contract("A_term_record_of_a_number_that_cannot_rise_is_garbled")},
		},
	}
}
