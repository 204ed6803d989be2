// Package coordinator lives the life of one node of a plane: it joins, stands by,
// is elected, leads, hands over, resigns, and comes back after it has lost its
// store. Where the plane is kept is the business of a [driver.Store], which package
// driver declares and package etcdstore implements.
//
// The handles nest, so that a wrong order does not compile. Joining a Store gives a
// [driver.Presence]: one lease with the node's record. A presence that stands for
// election gets a [driver.Term]. Only a term can write.
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
//
// # The loop
//
// A node is one loop, the goroutine in [Node.Run], which goes from step to step: it
// joins, settles in the resting state of its mode, stands by, is promoted, leads,
// resigns, leaves. It alone changes the node's state. What only the loop may touch has
// the loop as its receiver, or is held by a field of it; what anybody may call is a
// method of [Node]. Others see the node by an immutable picture that the loop shows,
// and reach the loop by requests.
//
// In every step the loop waits in await, where it takes up requests, and notices
// pictures of the plane, the end of its lease or term, and the stop. Besides, steps
// make calls that have a bound of their own:
//
//	step                what it waits for                            at most
//	any, in await       publish the node's record                    2 s
//	inspect             see the plane, ask what the store permits     2 s for each call
//	enter               join, for each attempt                       2 s
//	                    Config.StillAlive, once                      as long as that takes
//	joinExclusive       take the plane, for each attempt             2 s
//	rejoin              revoke the old lease, for each attempt       2 s
//	leavePlane          revoke the lease                             2 s
//	order               read the plane; ask what the store permits   2 s for each call
//	promote             clear and announce, for each attempt         2 s
//	lead                record a departure, for each vanished node   2 s
//	resign              end the program and settle writes            5 s
//	                    the transaction that ends the term           2 s
//	transfer            all of it                                    2 s
//	                    withdraw the offer, if it failed             1 s
//	leave               end or transfer the term                     4 s
//	                    the transaction that ends the term           2 s
//	                    revoke each of two leases                    2 s
//
// A call that is attempted again is so between two rounds of await. A loop that does not
// come round for [driver.StallLimit] loses its lease, whatever holds it up.
//
// # Goroutines
//
//	goroutine                    begins                  ends, and who waits for it
//	the loop                     Run                     Run returns
//	follow, poll (scope.go)      Run                     with the loop; Run waits
//	journal.tell (status.go)     Run                     with the loop; Run waits 2 s
//	a campaign (campaign.go)     standBy                 withdraw or leave waits; so does Run
//	a mirror, watchLoad          startReplica            dropReplica waits; so does Run
//	a wait for a revision        awaitRevision, promote  with the mirror or the term; Run waits
//	closing a persister          endLeadership           once writes are settled; Run waits
//	the program (program.go)     promote                 its context ends; resign and transfer
//	                                                     wait as long as the table says
package coordinator
