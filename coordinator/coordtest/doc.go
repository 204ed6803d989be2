// Package coordtest runs a whole plane within a test: real nodes over a store in memory,
// with faults on demand. Use it to test a program that leads: what it does when it is
// elected, when its node dies, stands still, loses the store or hands over.
//
//	func TestFailover(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			plane := coordtest.New(t)
//			a := plane.Start(coordinator.Config{ID: "a", Lead: lead})
//			plane.AwaitMaster(time.Second)
//			b := plane.Start(coordinator.Config{ID: "b", Lead: lead})
//			b.AwaitState(modes.StateHotStandby, time.Second)
//			a.Kill()
//			b.AwaitState(modes.StateMaster, plane.TTL()+time.Second)
//		})
//	}
//
// Within a bubble of package testing/synctest time is virtual: a TTL of a minute passes
// at once, and a test always sees the same. Without a bubble a plane lives in real time.
//
// A [Plane] starts nodes and has the faults of the store: full, away, compacted, restored.
// A [Node] has the faults of one process: kill, freeze, partition, expiry of its lease,
// lost and late answers. When the test ends, the plane ends all nodes and waits until
// each of their goroutines has returned.
//
// Package memstore is the store in memory. Package etcdtest runs a plane on a real etcd
// in the process. Package storetest is the contract that every store must pass, for
// authors of stores.
package coordtest
