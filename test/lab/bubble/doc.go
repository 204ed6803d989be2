// Package bubble is the deterministic layer of the fault laboratory: whole planes of
// three to seven nodes, the real ones on the real store, on a real server of etcd,
// in the virtual time of a testing/synctest bubble. A minute of a plane's life costs
// a fraction of a second.
//
// How etcd gets into a bubble: the server is made by etcdserver.NewServer and not by
// package embed, which listens; its one peer URL is never dialled; and its clients
// call it over channels. Two package-level variables of etcd's are set once, in
// TestMain, before any bubble: the channel of a context that never ends, which as one
// made outside of the bubble would keep its time from moving, and the size of a
// segment of the log, which need not be 64 MB.
//
// Each process of a plane reaches etcd by a gate of its own, which delays, loses,
// refuses and holds what passes it, in either direction. What is done to a plane, its
// plan, follows from a seed and is written out first; see plan. Goroutines are not in
// the seed's hand, so that a seed which fails may fail only now and then: the failure
// prints the command that runs it again, and -count does so often.
//
// What cannot be had here: a process that stands still, since all goroutines of a
// bubble run; members of etcd that lose each other, since there is one; and the
// machine's own clocks.
package bubble
