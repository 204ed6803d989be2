// Package lab is the fault laboratory: what runs planes, does them harm, and finds
// out whether a promise was broken.
//
//	evidence    what a run leaves behind; the only thing that its parts share
//	judge       replays evidence and says which invariant was broken, and where
//	check       the command that judges kept evidence again
//	bubble      whole planes on a real etcd in fake time, by the thousand
//	fleet       real processes of etcd and coordinator, killed, frozen, starved and denied, and an etcd that loses its past
//	wire        a network of namespaces that delays, loses and cuts, one way or both
//	network     planes on such a wire, and the rows of the fault matrix that are about it
//	mutants     the product with a rule broken, and the tests that have to notice
//	soak        the command that runs them all and prints the score card
//
// The judge knows the documented formats and nothing of the product: no package of
// the product is imported below evidence and judge.
package lab
