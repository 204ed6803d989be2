// Package rebind holds the state that the nodes of a plane share, and how it
// travels between the store and memory.
//
// State is made of mementos. A [Memento] is one persisted document under a
// [Name]; a [Delta] puts and deletes mementos together, all or nothing. What a
// reader holds is a [View]: all mementos at one revision of the store,
// immutable, read without a lock. A [replica.Mirror] keeps the newest View: it loads
// everything at one revision, then follows the store's changes from the next.
// The master reads from a Mirror too, so a promotion throws nothing away and a
// demotion keeps what it has.
//
// Writing goes the other way. A [replica.Persister] takes deltas from callers, keeps
// those that touch the same memento apart, hands them to a [driver.Writer] (a term of
// mastership, which fences them) and acknowledges one when the store has it and
// the mirror shows it.
//
// A stored value that cannot be read never stops the others: it is quarantined,
// listed, answered with an error of its own, and left untouched in the store
// until somebody puts or deletes that memento.
//
// What is ordered: revisions, and the writes to one memento. What is not: two
// deltas of concurrent callers that touch different mementos.
package rebind
