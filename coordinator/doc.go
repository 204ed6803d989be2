// Package coordinator lives the life of one node of a plane: it joins, stands by,
// is elected, leads, hands over, gives up, and comes back after it has lost its
// store. Where the plane is kept is the business of a [driver.Store], which this package
// declares and package etcdstore implements.
//
// The handles nest, so that a wrong order does not compile. A Store is joined and
// gives a [driver.Presence]: one lease with the node's record. A membership campaigns
// and gives a [driver.Term]. Only a term can write.
//
// A node is one loop (role.go) that goes from step to step: it joins, settles in
// the resting state of its mode, stands for election, promotes itself, leads,
// steps down, leaves. It waits in one place and heeds there, whatever the step,
// operators' requests, the plane, the end of its lease or term, and the stop. The
// loop is the only writer of the node's state; everybody else sees an immutable
// picture of it.
//
// What a program can rely on:
//
//   - Its [Config.Lead] is called for a term that has begun, with all state in
//     memory, and its context ends before another node can be elected.
//   - Whatever it believes, the store refuses its writes once the term is over.
//   - What [Leader.Commit] has acknowledged is durable and is on the next master.
//
// What it cannot: a process that is frozen does nothing, and when it wakes its
// first instructions may run before it learns that its term is over. Give the
// number of the term to whatever is not behind the store.
package coordinator
