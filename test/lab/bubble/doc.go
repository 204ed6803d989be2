// Package bubble is the deterministic layer of the fault laboratory: whole planes of three
// to seven nodes, the real code with the real store on a real etcd server, in the virtual
// time of a testing/synctest bubble. A minute of a plane's life takes a fraction of a
// second.
//
// How etcd runs in a bubble: the server is created by etcdserver.NewServer instead of
// package embed, which would listen; its only peer URL is never dialled; and clients call
// it over channels. Two package-level variables of etcd are set once, in TestMain, before
// any bubble: the channel of a context that never ends, which would keep the bubble's time
// from advancing because it was made outside of the bubble, and the size of a log segment,
// which need not be 64 MB.
//
// Each process of a plane reaches etcd through a gate of its own, which delays, loses,
// refuses and holds messages in either direction. The plan, which is what is done to a
// plane, follows from a seed and is printed first. Goroutine scheduling does not follow
// from the seed, so a failing seed may fail only now and then: the failure prints the
// command that runs it again, and -count repeats it.
//
// What this layer cannot do: stop a process, since all goroutines of a bubble run; separate
// members of etcd from each other, since there is only one; and change the machine's own
// clocks.
package bubble
