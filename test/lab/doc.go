// Package lab is the fault laboratory: it runs planes, injects faults, and finds out
// whether a promise was broken.
//
//	evidence    what a run leaves behind; the only thing that the parts share
//	judge       replays evidence and says which invariant was broken, and where
//	check       the command that judges kept evidence again
//	bubble      whole planes on a real etcd in virtual time, by the thousand
//	fleet       real processes of etcd and coordinator: killed, frozen, starved and denied, and an etcd that loses part of its history
//	wire        a network of namespaces that delays, loses and cuts, one way or both
//	network     planes on such a wire, and the rows of the fault matrix about the network
//	mutants     the product with one rule broken, and the tests that have to notice
//	soak        the command that runs all of them and prints the score card
//
// The judge knows the documented formats and nothing of the product: evidence and judge
// import no package of the product.
package lab
