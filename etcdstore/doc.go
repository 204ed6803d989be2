// Package etcdstore keeps a plane in etcd. [Open] returns the store that a node of package
// coordinator needs:
//
//	store, err := etcdstore.Open(ctx, etcdstore.Config{
//		Endpoints: []string{"https://etcd-1:2379", "https://etcd-2:2379", "https://etcd-3:2379"},
//		Prefix:    "/coordinator", Plane: "jobs", TTL: 6 * time.Second,
//		TLS:       etcdstore.TLSFiles("ca.crt", "node.crt", "node.key"), // read again when they change
//	})
//	…
//	defer store.Close() // after the node's Run has returned
//
// What it promises:
//
//   - etcd itself refuses the writes of a former master: each carries a fence.
//   - A write whose answer was lost is settled by reading, and never made twice.
//   - A restore of etcd from a backup is noticed, even if later writes have overtaken it.
//   - One etcd member that hangs or is cut off is left out, as long as others answer.
//   - An idle plane writes nothing.
//
// It needs etcd 3.4.25, 3.5.8, 3.6 or newer. A [Store] belongs to one node; its methods, which package driver
// explains, may be called from any goroutine. Package embedded, below this one, runs an etcd
// in the process, and etcdauth makes etcd enforce which keys a node writes in its mode.
//
// # Keys
//
// The keys of a plane, all under {prefix}/{plane}/ (file keys.go):
//
//	meta             plane id and format; made by the first term transaction
//	term             who was last given the term; no lease
//	nodes/{node}     a live node's record, on its lease
//	election/{lease} a candidate, on the same lease; made by etcd's election
//	mementos/{t}/{i} one memento
//	history/{term}   how a term began
//	handover         a master's offer to hand its term over, on its lease
//	pause            no automatic promotion; on a lease if the pause has an end
//	left/{node}      the last record of a node that departed, on a lease of an hour
//	guard            a disabled node has the plane to itself, on its lease
//
// # Transactions
//
// The comparisons of etcd transactions decide who writes what; an earlier read
// alone never does:
//
//	join          no record of that node, no guard             record; left gone
//	term          own election key as looked at; term record,  term record, meta
//	              the key it names and meta as read; no guard;
//	              no pause, unless it is over or an operator
//	              ordered the promotion
//	every write   the fence: term record and own election      mementos, record,
//	of a term     key are this term's                          history, handover
//	delta         the fence, and each memento's revision       mementos
//	transfer      the fence, the target's key, the offer       term record; own key gone
//	resign        the fence                                    record; own key gone
//	departure     the fence, no record of the node             left
//	exclusive     no node, no candidate, no guard              guard, meta
//
// Pause, resume and forget compare nothing: the last of them counts.
//
// The local clock only ever ends things: a lease is relied on until a margin
// before it can lapse, counted from the sending of the last renewal, and a term
// is over at that moment, whatever etcd says later.
//
// # Goroutines
//
// All belong to the store's group, and [Store.Close] waits for them:
//
//	lease.keep, watchDeadline, watchSilence  one each per lease, until it ends
//	memberProber.probe, inspect              for each member of etcd, until Close
//	the wait in etcd's queue                 per election key, until the lease ends
//	the watch of a candidacy                 until that is over
//	the watch of a term, and what ends       until that is over
//	the term with its presence
//	revocation of a lease                    after a join or an exclusive start that failed
//
// A follower, a load and a stream of mementos start goroutines that end before the
// call that started them returns.
//
// # Files
//
//	store, access, login, tls, endpoints,    opening a store, and reaching etcd
//	diagnose
//	prober, memberstatus                     which members of etcd can be relied on
//	incarnation, seen                        noticing that etcd was restored
//	keys, codec                              where things are stored, how, and by whom
//	plane, follow                            reading and following the plane
//	load, watch, meter                       reading and following mementos
//	lease, presence                          a node's presence
//	candidacy                                a candidate in the election
//	exclusive                                a disabled node, and its term
//	termcore, term, fence, fencedtxn,        what a term writes
//	commit
//	operate                                  what operators change
package etcdstore
