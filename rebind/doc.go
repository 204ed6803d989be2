// Package rebind is the state of a plane as programs read and write it.
//
//	type Job struct{ Owner string }
//
//	var jobs = rebind.JSON[Job]("job")
//
//	nightly, err := jobs.Get(node.View(), "nightly")               // from memory, on any hot node
//	_, err = jobs.Put(ctx, leader, "nightly", Job{"ann"})          // durable when it returns
//	_, err = jobs.Update(ctx, leader, "nightly", func(j Job) (Job, error) { … })
//	byOwner := jobs.Index(func(id string, j Job) []string { return []string{j.Owner} })
//
// State is made of mementos. A [Memento] is one stored document under a [Name], type/id. A
// [Kind] reads and writes those of one type as Go values, in JSON or in a format of your own,
// and reads old versions of them through upgrades. A [Delta] puts and deletes several
// mementos together, all or nothing.
//
// What a reader holds is a [View]: all mementos at one revision of the store. It never
// changes, is read without a lock, and costs nothing to keep for a while. A node publishes a
// new one for each change of the store. What a program writes to is [Shared]: a Leader or a
// Node of package coordinator.
//
// # What a program can rely on
//
//   - A view holds whole deltas: no view shows half of one.
//   - When a commit returns without an error, the delta is durable, and the master's view has
//     it. After an error nothing was written, except after [ErrUnknown].
//   - Revisions only rise. Two writes to one memento have an order. Two deltas of concurrent
//     callers that touch different mementos may be stored in either.
//   - A stored value that cannot be read never stops the others: it is quarantined, listed,
//     answered with [ErrQuarantined], and left in the store until it is put or deleted.
//
// What a standby or backup reads is a state that was: coordinator.Node.Read tells how old it
// can be, and coordinator.Node.Confirm waits for the present one.
//
// How state travels between the store and memory is in package internal/replica. Package
// coalesce, below this one, is for mementos that change often.
package rebind
