// Package driver is for authors of stores: it declares what a store of planes implements,
// and what it and a node tell each other. Package etcdstore implements it for etcd, and
// package memstore, below coordtest, in memory. Programs that embed a node need it only for
// what a node tells them, such as a [Member] or a [HistoryEntry].
//
// The handles nest, so that a wrong order does not compile:
//
//	presence, err := store.Join(ctx, record)             // a lease with the node's record on it
//	candidacy, err := presence.Stand(ctx)                // a place in the election, on that lease
//	situation, err := candidacy.Look(ctx)                // what the node decides on
//	term, err := candidacy.Begin(ctx, situation, …)      // one transaction: a term, or not
//	revision, err := term.Commit(ctx, writes)            // only a term can write
//
// A [Store] is also the [Source] from which mementos are loaded and watched. A [Plane] is
// the picture of all nodes, a [NearPlane] that of one node and the holder of the term.
//
// # What a store promises
//
//   - A term begins in one transaction, while no other one lasts, and its number rises.
//   - Every write of a term carries a condition that fails once the term is over: the store
//     enforces it, whatever the caller believes.
//   - A delta is stored whole or not at all, at a revision of its own.
//   - An outcome that is not known is told as [rebind.ErrUnknown], never as success or as
//     refusal.
//   - A presence relies on its lease by its own clock, and ends before the store can give the
//     lease up.
//
// Package storetest, below coordtest, is this contract as tests, to run on your store. The
// comments of the interfaces here say for each method what blocks, and which errors it returns.
package driver
