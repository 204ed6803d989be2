package etcdstore

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// This file is the fence: what every write of a term compares. No write of a term is sent
// without it, and no other file builds it.

// fence returns what every write of a term compares in its own transaction: the term record is
// still the one that began this term, and the election key that won it is still there. The key
// alone is not enough, because waiting candidates have keys too; the record alone outlives its
// holder. The term of a disabled node compares the key guard instead.
func fence(t *termCore) []clientv3.Cmp {
	compares := make([]clientv3.Cmp, len(t.conditions))
	for i, c := range t.conditions {
		if c.created != 0 {
			compares[i] = createdAt(c.key, c.created)
		} else {
			compares[i] = modifiedAt(c.key, c.modified)
		}
	}
	return compares
}

// modifiedAt compares that a key is as it was last modified at a revision; 0 stands for a
// key that is not there. [clientv3.Compare] says the same at several times the cost: it
// copies by reflection, for each memento of a delta.
func modifiedAt(key string, revision int64) clientv3.Cmp {
	cmp := equal(key, pb.Compare_MOD)
	cmp.GetCompare().TargetUnion = &pb.Compare_ModRevision{ModRevision: revision}
	return cmp
}

// createdAt is modifiedAt for the revision at which a key was created.
func createdAt(key string, revision int64) clientv3.Cmp {
	cmp := equal(key, pb.Compare_CREATE)
	cmp.GetCompare().TargetUnion = &pb.Compare_CreateRevision{CreateRevision: revision}
	return cmp
}

// equal begins a comparison for equality; its caller says with what.
func equal(key string, target pb.Compare_CompareTarget) clientv3.Cmp {
	var cmp clientv3.Cmp
	c := cmp.GetCompare()
	c.Key, c.Target, c.Result = []byte(key), target, pb.Compare_EQUAL
	return cmp
}
