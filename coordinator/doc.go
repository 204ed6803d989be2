// Package coordinator makes a Go program highly available: of all processes that embed a
// [Node] of a plane, one leads and changes the plane's state, and the others have a copy of
// it and take over.
//
//	store, err := etcdstore.Open(ctx, etcdstore.Config{
//		Endpoints: []string{"127.0.0.1:2379"}, Prefix: "/coordinator", Plane: "jobs", TTL: 6 * time.Second,
//	})
//	…
//	node, err := coordinator.New(coordinator.Config{
//		ID: "a", Plane: "jobs", Mode: modes.Auto,
//		Lead: func(ctx context.Context, l *coordinator.Leader) error {
//			… // read l.View(), write with l.Commit, until ctx ends with the term
//		},
//	}, store)
//	…
//	err = node.Run(ctx) // until ctx ends; the loss of etcd or of a term does not end it
//
// Beyond an election it gives:
//
//   - Fencing. The store refuses the writes of a former master, whatever that one believes.
//   - Fast changes. After the death of a master a hot standby leads within the TTL and a second. A program
//     that is stopped, or told to, hands over within milliseconds.
//   - State. All of it is in memory on every hot node, for reads without a lock. [rebind.JSON] reads
//     and writes it as Go values.
//   - Tests and operation. Package coordtest kills, freezes and cuts off nodes in tests, in virtual time. Package
//     coordhttp serves a node's API, so that the command "coordinator" operates the program.
//
// docs/LIBRARY.md goes from an empty main to a failover in a quarter of an hour.
//
// # What a program can rely on
//
//   - Its [Config.Lead] is called for a term that has begun, with all state in memory, and its
//     context ends before another node can be elected.
//   - What [Leader.Commit] has acknowledged is durable, and is on the next master. After an
//     error nothing was written, except after [rebind.ErrUnknown].
//   - The number of a term, [Leader.Term], is higher than that of every earlier one.
//   - [Node.Run] ends when its context does. When the store is away the node gives its term up
//     in time, goes on serving reads, and joins again.
//
// # What it cannot rely on
//
// A process that is frozen does nothing, and when it wakes its first instructions may run
// before it learns that its term is over. Give the number of the term to whatever is not
// behind the store, and let that refuse older ones.
//
// While the store has no quorum nobody leads. A program that ignores the end of its context
// keeps its node out of the election, but can write nothing more.
//
// # Concurrency
//
// The methods of [Node] and [Leader] may be called from any goroutine, except that Run is
// called once. Those that take a context may block until it ends; the others never wait.
// Config.Lead, Config.Observe and other functions of a [Config] are called on goroutines of
// the node, as their comments say.
//
// Package driver declares what a store implements: authors of programs do not need it,
// except for what a node tells of its plane. Maintainers begin with the file loop.go.
package coordinator
