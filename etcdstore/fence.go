package etcdstore

import clientv3 "go.etcd.io/etcd/client/v3"

// fence is what every write of a term compares in its own transaction: that what
// the term rests on is as it was. That is the term record, in the revision that
// began this term, and the election key that won it: the key alone proves too
// little, since waiting candidates have keys too; the record alone outlives its
// holder. A disabled node's term rests on its guard.
func (t *term) fence() []clientv3.Cmp {
	compares := make([]clientv3.Cmp, len(t.stakes))
	for i, st := range t.stakes {
		if st.created != 0 {
			compares[i] = clientv3.Compare(clientv3.CreateRevision(st.key), "=", st.created)
		} else {
			compares[i] = clientv3.Compare(clientv3.ModRevision(st.key), "=", st.modified)
		}
	}
	return compares
}
