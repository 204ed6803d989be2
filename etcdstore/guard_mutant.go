//go:build mutant_trustcampaign

package etcdstore

import clientv3 "go.etcd.io/etcd/client/v3"

// This mutant takes the return of etcd's Campaign for a win. It exists to show
// that the tests notice.

func (p *picture) vacantFor(string, int64) bool { return true }

func (p *picture) asSeen(string, int64) []clientv3.Cmp { return nil }
