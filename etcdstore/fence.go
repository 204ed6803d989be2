//go:build !mutant_nofence

package etcdstore

import clientv3 "go.etcd.io/etcd/client/v3"

// fence is what every write of a term compares in its own transaction: the term
// record is the one that began this term, and the election key is the one that
// won it. The key alone proves too little, since waiting candidates have keys
// too; the record alone outlives its holder.
func (t *term) fence() []clientv3.Cmp {
	return []clientv3.Cmp{
		clientv3.Compare(clientv3.ModRevision(t.m.store.keys.term()), "=", t.recorded),
		clientv3.Compare(clientv3.CreateRevision(t.key), "=", t.created),
	}
}
