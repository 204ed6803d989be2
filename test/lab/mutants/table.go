package mutants

// All returns every mutant. The first two are the most dangerous: with them two nodes
// write.
func All() []Mutant {
	var all []Mutant
	for _, some := range [][]Mutant{writers(), leases(), terms(), mirrors(), restores(), deltas(), formats(), waits()} {
		all = append(all, some...)
	}
	return all
}

// Packages with catchers.
const (
	store  = "etcdstore"
	nodes  = "coordinator"
	copies = "rebind"
)

func contract(name string) Catcher { return Catcher{Package: store, Test: "TestContract/" + name} }

// writers break who may write.
func writers() []Mutant {
	return []Mutant{
		{
			Name: "nofence", Invariant: "I-1", Lab: "I-1", Rule: "every write of a term is compared with what the term rests on",
			Edits: []Edit{{
				"etcdstore/fence.go",
				"\treturn compares\n", "\treturn nil\n",
			}},
			Catchers: []Catcher{{Package: store, Test: "TestFence_RefusesADeposedMasterThatDoesNotKnow"}},
		},
		{
			Name: "trustcampaign", Invariant: "I-2", Lab: "I-2", Rule: "the return of etcd's Campaign is a hint",
			Edits: []Edit{
				{"etcdstore/candidacy.go", "\treturn created != 0 && !p.held() && !hasLed && !p.overtaken(created)\n", "\t_ = hasLed\n\treturn true\n"},
				{"etcdstore/candidacy.go", "known && !now.present,", "false,"},
				{"etcdstore/candidacy.go", "\treturn compares\n", "\treturn nil\n"},
			},
			Catchers: []Catcher{{Package: store, Test: "TestCampaign_DeadCandidateNeverHoldsATerm"}},
		},
		{
			Name: "fence-on-key-only", Invariant: "I-1", Rule: "the fence compares the term record",
			Edits: []Edit{{
				"etcdstore/fence.go",
				`modifiedAt(c.key, c.modified)`, `clientv3.Compare(clientv3.ModRevision(c.key), ">", 0)`,
			}},
			Catchers: []Catcher{{Package: store, Test: "TestFence_RefusesAMasterWhoseTermRecordWasReplaced"}},
		},
		{
			Name: "fence-on-record-only", Invariant: "I-1", Rule: "the fence compares the election key",
			Edits: []Edit{{
				"etcdstore/fence.go",
				`createdAt(c.key, c.created)`, `clientv3.Compare(clientv3.CreateRevision(c.key), ">", -1)`,
			}},
			Catchers: []Catcher{{Package: store, Test: "TestFence_RefusesAMasterWithoutItsKeyAlthoughItsRecordStands"}},
		},
		{
			Name: "backup-stands", Invariant: "I-5", Rule: "a hot_backup node is never a candidate",
			Edits: []Edit{{
				"internal/policy/policy.go",
				"return mode.Promotable() && state.Electable()", "return mode.Promotable() && state.Electable() || state == modes.StateHotBackup",
			}},
			Catchers: []Catcher{{Package: nodes, Test: "TestNode_HotBackupStaysOutOfTheElection"}},
		},
	}
}

// leases break how long a node relies on its lease.
func leases() []Mutant {
	return []Mutant{
		{
			Name: "deadline-from-answer", Invariant: "I-9", Lab: "I-9", Rule: "the deadline counts from the sending of a renewal",
			Edits: []Edit{{
				"etcdstore/lease.go",
				"l.renewed(a.sent, a.ttl)", "l.renewed(l.store.cfg.Clock(), a.ttl)",
			}},
			Catchers: []Catcher{{Package: store, Test: "TestLease_LateAnswerProvesNoMoreThanItsSending"}},
		},
		{
			Name: "no-deadline", Invariant: "I-9", Lab: "I-9", Rule: "a lease that was not renewed in time is not relied on, whatever etcd says",
			Edits: []Edit{{
				"etcdstore/lease.go",
				"if l.ctx.Err() == nil && l.Remaining() <= 0 {", "if l.ctx.Err() != nil && l.Remaining() <= 0 {",
			}},
			Catchers: []Catcher{{Package: store, Test: "TestLease_SleptThroughItsDeadline"}},
		},
		{
			Name: "no-margin", Invariant: "I-9", Lab: "I-9", Rule: "a master stops acting a margin before its lease may lapse",
			Edits: []Edit{{
				"etcdstore/lease.go",
				"sent + granted - driver.Margin(granted)", "sent + granted",
			}},
			Catchers: []Catcher{{Package: store, Test: "TestLease_DeadlineCountsFromSending"}},
		},
		{
			Name: "wall-clock", Invariant: "I-37", Rule: "leases are judged by the time since boot",
			Edits: []Edit{
				{"etcdstore/store.go", "\t\tc.Clock = clock.Boot\n", "\t\tc.Clock = func() time.Duration { return time.Duration(time.Now().UnixNano()) }\n"},
				{"etcdstore/store.go", "\t\"github.com/coordinator-ha/coordinator/internal/clock\"\n", ""},
			},
			Catchers: []Catcher{{Package: store, Test: "TestLease_IsJudgedByTheTimeSinceBoot"}},
		},
		{
			Name: "hung-loop-renews", Invariant: "I-41", Lab: "I-41", Rule: "a node whose role loop hangs keeps its lease no longer than a limit",
			Edits: []Edit{{
				"etcdstore/lease.go",
				"if well := l.heartbeatUntil.Load(); well != 0 {", "if well := l.heartbeatUntil.Load(); well < 0 {",
			}},
			Catchers: []Catcher{contract("A_node_that_hangs_loses_its_lease")},
		},
		{
			Name: "log-waits", Invariant: "I-41", Rule: "logging never waits for the reader of the log",
			Edits: []Edit{{
				"cmd/coordinator/logging.go",
				"zapcore.NewCore(enc, lines, level)", "zapcore.NewCore(enc, zapcore.Lock(zapcore.AddSync(s.err)), level)",
			}},
			Catchers: []Catcher{{Package: "cmd/coordinator", Test: "TestServing_LogsToNobody"}},
		},
		{
			Name: "record-without-lease", Invariant: "I-24", Lab: "I-24", Rule: "a record has its node's lease",
			Edits: []Edit{{
				"etcdstore/presence.go",
				"return clientv3.OpPut(m.key, encodeJSON(r), clientv3.WithLease(m.id))", "return clientv3.OpPut(m.key, encodeJSON(r))",
			}},
			Catchers: []Catcher{contract("Join_publishes_a_record")},
		},
	}
}

// terms break how a term begins and ends.
func terms() []Mutant {
	return []Mutant{
		{
			Name: "resign-before-program", Invariant: "I-10", Rule: "the program has returned before the term is given up",
			Edits: []Edit{{
				"coordinator/demote.go",
				"if err := l.program.end(settle, errSteppingDown); err != nil {", "if err := context.Cause(settle); err != nil {",
			}},
			Catchers: []Catcher{{Package: nodes, Test: "TestProgram_HasReturnedBeforeTheNextTermBegins/demotion", Says: "two programs run at once"}},
		},
		{
			Name: "pass-before-program", Invariant: "I-29", Rule: "the program has returned before the term is handed over",
			Edits: []Edit{{
				"coordinator/handover.go",
				"err := l.program.end(ctx, errHandingOver)", "err := context.Cause(ctx)",
			}},
			Catchers: []Catcher{{Package: nodes, Test: "TestProgram_HasReturnedBeforeTheNextTermBegins/handover", Says: "two programs run at once"}},
		},
		{
			Name: "program-in-role-loop", Invariant: "I-31", Rule: "nothing that a program does delays its node",
			Edits: []Edit{
				{"coordinator/program.go", "\tgo func() {\n", "\tfunc() {\n"},
			},
			Catchers: []Catcher{{Package: nodes, Test: "TestProgram_ThatOutlivesItsContextIsBounded"}},
		},
		{
			Name: "observer-in-role-loop", Invariant: "I-31", Rule: "nothing that an observer does delays its node",
			Edits: []Edit{{
				"coordinator/loop.go",
				"\tl.node.journal.add(t)\n", "\tl.node.journal.add(t)\n\ttellOne(l.log, l.cfg.Observe, t)\n",
			}},
			Catchers: []Catcher{{Package: nodes, Test: "TestListener_ThatIsSlowHurtsNobody"}},
		},
		{
			Name: "stale-promotion", Invariant: "I-17", Rule: "a master begins with the state as of its term or later",
			Edits: []Edit{
				{"coordinator/promote.go", "loaded, stop := l.replicaAt(from)", "loaded, stop := l.replicaAt(0)"},
				{"coordinator/promote.go", "if view == nil || view.Revision() < from {", "if view == nil || from < 0 {"},
			},
			Catchers: []Catcher{{Package: nodes, Test: "TestPromotion_StateThatDoesNotArriveEndsTheTerm"}},
		},
	}
}
