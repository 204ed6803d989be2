package mutants

// model compares the mirror with a plain map. Its findings must not stay in the tree.
func model() Catcher {
	return Catcher{Package: copies, Test: "TestMirror_LikeTheModel", Args: []string{"-rapid.nofailfile"}}
}

// mirrors break how a copy follows the store.
func mirrors() []Mutant {
	const watch, mirror = "etcdstore/watch.go", "internal/replica/mirror.go"
	resume := "clientv3.WithRev(int64(after)+1)"
	return []Mutant{
		{
			Name: "resume-at-R", Invariant: "I-15", Rule: "a watch continues after the revision that was seen",
			Edits:    []Edit{{watch, resume, "clientv3.WithRev(int64(after))"}},
			Catchers: []Catcher{contract("Watch_brings_whole_deltas_in_order")},
		},
		{
			Name: "resume-at-R+2", Invariant: "I-15", Lab: "I-12", Rule: "a watch misses no revision",
			Edits:    []Edit{{watch, resume, "clientv3.WithRev(int64(after)+2)"}},
			Catchers: []Catcher{contract("Watch_brings_whole_deltas_in_order")},
		},
		{
			Name: "mirror-resumes-ahead", Invariant: "I-15", Rule: "a mirror continues from where it is",
			Edits:    []Edit{{mirror, "m.source.Watch(ctx, m.resume(old))", "m.source.Watch(ctx, m.resume(old)+1)"}},
			Catchers: []Catcher{{Package: copies, Test: "TestMirror_GapWithoutLoss"}},
		},
		{
			Name: "one-by-one", Invariant: "I-14", Rule: "what happened at one revision becomes visible together",
			Edits: []Edit{{
				mirror,
				"\t\tm.draft.Apply(newer.Changes[i])\n",
				"\t\tm.draft.Apply(newer.Changes[i])\n\t\tm.publish(m.draft.View(newer.Changes[i].Revision, m.stepsAfter), nil, clock.Moment{})\n",
			}},
			Catchers: []Catcher{{Package: copies, Test: "TestMirror_NeverShowsHalfADelta"}},
		},
		{
			Name: "compaction-ignored", Invariant: "I-16", Rule: "a watch that was compacted says so",
			Edits: []Edit{{
				watch,
				"\t\t\tif err := watchErr(w.ctx, &resp, open); err != nil {\n\t\t\t\tw.broken.Store(true)",
				"\t\t\tif resp.CompactRevision != 0 {\n\t\t\t\tsp := prefixed(w.store.keys.mementos())\n" +
					"\t\t\t\tw.watch = w.store.client.Watch(w.ctx, sp.from, clientv3.WithRange(sp.to), clientv3.WithRev(resp.CompactRevision))\n" +
					"\t\t\t\tcontinue\n\t\t\t}\n" +
					"\t\t\tif err := watchErr(w.ctx, &resp, open); err != nil {\n\t\t\t\tw.broken.Store(true)",
			}},
			Catchers: []Catcher{contract("Watch_from_a_compacted_revision_says_so")},
		},
		{
			Name: "no-reload", Invariant: "I-16", Rule: "a mirror whose watch was compacted loads again",
			Edits: []Edit{{
				mirror,
				"zap.Error(err))\n\t\t\tm.discard()\n\t\tcase errors.Is(err, driver.ErrRestored):", "zap.Error(err))\n\t\tcase errors.Is(err, driver.ErrRestored):",
			}},
			Catchers: []Catcher{model()},
		},
		{
			Name: "reload-over-revisions", Invariant: "I-16", Rule: "a load reads everything at one revision",
			Edits: []Edit{
				{"etcdstore/load.go", "clientv3.WithRange(l.rest.to), clientv3.WithRev(l.revision))", "clientv3.WithRange(l.rest.to))"},
				{"etcdstore/load.go", "l.store.page(ctx, l.rest, clientv3.WithRev(l.revision), clientv3.WithLimit(l.limit))", "l.store.page(ctx, l.rest, clientv3.WithLimit(l.limit))"},
			},
			Catchers: []Catcher{{Package: store, Test: "TestLoad_IsOfOneRevision"}},
		},
		{
			Name: "garbage-is-deletion", Invariant: "I-18", Rule: "what cannot be read is quarantined",
			Edits: []Edit{{
				"etcdstore/codec.go",
				"\t\tc.Fault = err.Error()\n", "",
			}},
			Catchers: []Catcher{contract("A_value_that_cannot_be_read_is_a_fault")},
		},
	}
}

// restores make a store that went back in time go unnoticed.
func restores() []Mutant {
	const mirror, seen = "internal/replica/mirror.go", "etcdstore/seen.go"
	overtaken := Catcher{Package: copies, Test: "TestMirror_RestoreThatIsOvertaken"}
	return []Mutant{
		{
			Name: "overtaken-restore-unnoticed", Invariant: "I-12", Rule: "a copy whose stream broke proves that its past is the store's",
			Edits: []Edit{
				{mirror, "m.source.Watch(ctx, m.resume(old))", "m.source.Watch(ctx, m.resume(false))"},
				{mirror, "\tm.requestConfirm()\n\tv := m.View()\n", "\tv := m.View()\n\tm.setDoubt(false)\n\tif v != nil {\n\t\treturn nil\n\t}\n"},
			},
			Catchers: []Catcher{
				overtaken,
				{Package: store, Test: "TestStore_RestoreThatIsOvertaken"},
				{Package: "test/lab/bubble", Test: "TestRestores"},
				inFleet("overtaken-restore-unnoticed", "TestFleet_PastsThatAreLost", "and they are not the same"),
			},
		},
		{
			Name: "lost-delete-unnoticed", Invariant: "I-12", Rule: "the store must have as many mementos as a copy",
			Edits:    []Edit{{mirror, "case count != has:", "case count != has && v == nil:"}},
			Catchers: []Catcher{overtaken},
		},
		{
			Name: "current-in-doubt", Invariant: "I-12", Rule: "a copy in doubt is not called current",
			Edits:    []Edit{{"internal/replica/mirror_read.go", "v.Revision() >= to && !m.InDoubt() &&", "v.Revision() >= to &&"}},
			Catchers: []Catcher{{Package: copies, Test: "TestMirror_InDoubtIsNotCurrent"}},
		},
		{
			Name: "late-change-dropped", Invariant: "I-12", Rule: "a change that a copy should have had is not dropped",
			Edits:    []Edit{{mirror, "\t\tif !same {\n", "\t\tif !same && v == nil {\n"}},
			Catchers: []Catcher{{Package: copies, Test: "TestMirror_ChangeThatComesTooLate"}},
		},
		{
			Name: "watch-goes-on-elsewhere", Invariant: "I-12", Rule: "a watch ends with the connection it began on",
			Edits:    []Edit{{seen, "NewWatchFromWatchClient(onestream.Client(pb.NewWatchClient(conn)), client)", "NewWatchFromWatchClient(pb.NewWatchClient(conn), client)"}},
			Catchers: []Catcher{{Package: store, Test: "TestWatch_EndsWithItsConnection"}},
		},
		{
			Name: "writes-tell-nothing", Invariant: "I-12", Rule: "the answers to writes show a restore too",
			Edits:    []Edit{{seen, "resp, err := t.Txn.Commit()\n\tif err == nil {", "resp, err := t.Txn.Commit()\n\tif err == nil && resp == nil {"}},
			Catchers: []Catcher{{Package: store, Test: "TestStore_EveryAnswerIsLookedAt/commit"}},
		},
	}
}

// formats break what is stored, and where.
func formats() []Mutant {
	return []Mutant{
		{
			Name: "planes-run-together", Invariant: "I-21", Rule: "a slash keeps planes apart whose names begin alike",
			Edits:    []Edit{{"etcdstore/keys.go", `prefix + "/" + plane + "/"`, `prefix + "/" + plane`}},
			Catchers: []Catcher{{Package: store, Test: "TestKeys_PlanesNeverMeet", Args: []string{"-rapid.nofailfile"}}},
		},
		{
			Name: "field-renamed", Invariant: "I-19", Rule: "what the first version stored stays readable",
			Edits:    []Edit{{"coordinator/driver/record.go", `json:"ready_for,omitempty"`, `json:"ready,omitempty"`}},
			Catchers: []Catcher{{Package: store, Test: "TestFixture_IsReadInFull"}, {Package: store, Test: "TestFormat_IsWrittenAsItIsKept"}},
		},
		{
			Name: "header-renamed", Invariant: "I-19", Rule: "a changed format is another format",
			Edits: []Edit{
				{"etcdstore/codec.go", `b.WriteString(" schema=")`, `b.WriteString(" version=")`},
				{"etcdstore/codec.go", `case "schema":`, `case "schema", "version":`},
			},
			Catchers: []Catcher{{Package: store, Test: "TestFormat_IsWrittenAsItIsKept"}},
		},
	}
}

// deltas break how state is written.
func deltas() []Mutant {
	return []Mutant{
		{
			Name: "retry-with-new-id", Invariant: "I-8", Rule: "a write whose outcome is unknown is not sent as another",
			Edits: []Edit{{
				"internal/replica/persister_group.go",
				"\t\tvar moved *driver.BaseError\n\t\tswitch {\n",
				"\t\tvar moved *driver.BaseError\n\t\tswitch {\n\t\tcase errors.Is(err, ErrUnknown):\n\t\t\tfor _, r := range group {\n" +
					"\t\t\t\tr.delta.ID += \"-again\"\n\t\t\t\tr.rebase(p.mirror.View())\n\t\t\t}\n\t\t\tcontinue\n",
			}},
			Catchers: []Catcher{{Package: copies, Test: "TestPersister_PassesOnWhatTheWriterSays"}},
		},
		{
			Name: "doubt-is-failure", Invariant: "I-8", Rule: "a write without an answer is looked up",
			Edits: []Edit{{
				"etcdstore/commit.go",
				"by.op == writes[i].ID {", "by.op == \"\" {",
			}},
			Catchers: []Catcher{{Package: store, Test: "TestCommit_LostAnswer"}},
		},
		{
			Name: "found-by-id-alone", Invariant: "I-6", Rule: "what another term stored under an id is not this one's",
			Edits: []Edit{{
				"etcdstore/commit.go",
				"by.term == term && by.op == writes[i].ID {", "by.op == writes[i].ID {",
			}},
			Catchers: []Catcher{{Package: store, Test: "TestCommit_LostAndStoredByTheNextMaster"}},
		},
		{
			Name: "blind-write", Invariant: "I-7", Rule: "a delta compares the mementos it was made on",
			Edits: []Edit{{
				"etcdstore/commit.go",
				`modifiedAt(key, int64(op.Base))`, `clientv3.Compare(clientv3.ModRevision(key), ">", int64(op.Base-op.Base-1))`,
			}},
			Catchers: []Catcher{contract("Commit_is_all_or_nothing")},
		},
		{
			Name: "split-batch", Invariant: "I-14", Rule: "a delta is one transaction",
			Edits: []Edit{{
				"etcdstore/termcore.go",
				"\tw, err := mementoTxn(t, writes)\n",
				"\tif len(writes) > 1 {\n\t\tvar last rebind.Revision\n\t\tfor i := range writes {\n" +
					"\t\t\trev, err := t.Commit(ctx, writes[i:i+1])\n" +
					"\t\t\tif err != nil {\n\t\t\t\treturn 0, err\n\t\t\t}\n\t\t\tlast = rev\n\t\t}\n\t\treturn last, nil\n\t}\n" +
					"\tw, err := mementoTxn(t, writes)\n",
			}},
			Catchers: []Catcher{contract("Commit_is_all_or_nothing")},
		},
		{
			Name: "group-shares-fate", Invariant: "I-14", Rule: "deltas that go together fail each for itself",
			Edits: []Edit{{
				"internal/replica/persister_group.go",
				"\t\tif err != nil {\n\t\t\tp.finish(r, rebind.Receipt{}, err)\n\t\t\tcontinue\n",
				"\t\tif err != nil {\n\t\t\tfor _, other := range group {\n\t\t\t\tp.finish(other, rebind.Receipt{}, err)\n\t\t\t}\n\t\t\treturn nil\n",
			}},
			Catchers: []Catcher{
				{Package: copies, Test: "TestPersister_OneConflictLeavesTheOthers"},
				{Package: copies, Test: "TestPersister_LikeTheModel", Args: []string{"-rapid.nofailfile"}},
			},
		},
	}
}
