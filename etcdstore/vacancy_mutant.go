//go:build mutant_trustcampaign

package etcdstore

import (
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordinator-ha/coordinator/coordinator"
)

// This mutant takes the return of etcd's Campaign for a win. It exists to show
// that the tests notice.

func (p *picture) vacantFor(string, int64) bool { return true }

func (q *queue) vanished(int64) bool { return false }

func (p *picture) asSeen(*membership, int64, *coordinator.Bid) []clientv3.Cmp { return nil }
