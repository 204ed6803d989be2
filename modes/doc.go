// Package modes holds the words and the rules of high availability: the modes a
// node can be asked for, the states it can be in, and which state may follow
// which. It decides and never acts. It has no clock, no goroutine and no I/O, so
// every rule in it can be tested by calling it.
//
// Most programs need one name of it, [Auto]: such a node leads if it wins the election, and
// stands by otherwise. [HotBackup] makes a read replica that is never promoted.
//
//	node, err := coordinator.New(coordinator.Config{Mode: modes.Auto, …}, store)
//	…
//	if node.State() == modes.StateMaster { … }
//
// A [Mode] is what the operator asks of a node, a [State] is what the node is:
//
//	                  +--------------+
//	    join -------> | INITIALIZING | <------ every state, while it changes
//	                  +--------------+
//	           stand by /     |      \ back up
//	                   v      |       v
//	+---------+  +-------------+   +------------+
//	| STANDBY |  | HOT_STANDBY |<->| HOT_BACKUP |
//	+---------+  +-------------+   +------------+
//	     ^              |  ^            (no way to MASTER)
//	     |         lead v  | term over
//	     |           +--------+
//	     +---------- | MASTER |
//	                 +--------+
//
// FAILED and TERMINATED can be reached from everywhere. FAILED is left by a mode
// change only, TERMINATED never. There is no arrow from HOT_BACKUP to MASTER: a
// hot backup is never promoted, whatever the caller intends.
//
// The text forms of modes and states are stored in etcd and used by operators. They do not
// change; new ones may be added.
package modes
