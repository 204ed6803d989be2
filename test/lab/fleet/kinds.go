package fleet

import (
	"context"
	"maps"
	"slices"
	"time"
)

// kind is one kind of fault.
type kind struct {
	weight int      // how often it is drawn, relative to the others
	on     []string // the roles that it can hit
	alone  bool     // no other fault at the same time
	// lasts are the shortest and the longest duration; nil for what is over at once.
	lasts func(ttl time.Duration) (least, most time.Duration)
	// costs says when it may cost the plane a term.
	costs cost
	do    func(h *harm, ctx context.Context) error
	needs func() bool // whether this machine supports it; nil if every machine does
}

func (k kind) takes(role string) bool { return slices.Contains(k.on, role) }

// cost says when a fault may end a term.
type cost int

const (
	costsNothing cost = iota
	costsMaster       // when it hits the master
	costsShort        // when the TTL is too short to outlast a change of etcd's leader
	costsAll          // always
)

// Roles that a fault can hit.
const (
	onMaster   = "master"
	onHot      = "hot"      // a hot standby
	onCold     = "cold"     // a standby
	onBackup   = "backup"   // a hot backup
	onPair     = "pair"     // the master and its successor
	onAll      = "all"      // all nodes, or all members
	onLeader   = "leader"   // of etcd
	onFollower = "follower" // of etcd
	onQuorum   = "quorum"   // two members of three
	onPlane    = "plane"
)

// margin is how long before the end of its lease a holder stops.
const margin = 500 * time.Millisecond

// kinds lists all kinds of faults.
func kinds() map[string]kind {
	all := map[string]kind{
		"kill":      {weight: 12, on: []string{onMaster, onMaster, onMaster, onHot, onCold, onBackup, onPair, onAll}, lasts: aroundTTL, costs: costsMaster, do: (*harm).kill},
		"stop":      {weight: 6, on: []string{onMaster, onMaster, onHot, onCold, onBackup}, lasts: upToASecond, costs: costsMaster, do: (*harm).stop},
		"stoptwice": {weight: 2, on: []string{onMaster, onHot, onBackup}, lasts: upToASecond, costs: costsMaster, do: (*harm).stopTwice},

		"roll": {weight: 1, on: []string{onAll}, alone: true, costs: costsMaster, do: (*harm).roll},

		"freezeshort": {weight: 3, on: []string{onMaster, onHot, onBackup}, lasts: wellWithinTTL, do: (*harm).freeze},
		"freezeedge":  {weight: 4, on: []string{onMaster}, lasts: atTheEdge, costs: costsMaster, do: (*harm).freeze},
		"freezelong":  {weight: 8, on: []string{onMaster, onMaster, onHot, onBackup}, lasts: beyondTTL, costs: costsMaster, do: (*harm).freeze},
		"frost":       {weight: 2, on: []string{onMaster}, lasts: beyondTTL, costs: costsMaster, do: (*harm).frost, needs: canFreeze},
		"starve":      {weight: 2, on: []string{onMaster, onHot}, lasts: toTwiceTTL, costs: costsMaster, do: (*harm).starve, needs: canStarve},
		"unread":      {weight: 3, on: []string{onMaster, onMaster, onHot, onCold, onBackup}, lasts: beyondTTL, alone: true, do: (*harm).unread, needs: canFill},
		"nofile":      {weight: 2, on: []string{onMaster, onHot}, lasts: aroundTTL, do: (*harm).noFile, needs: canLimit},
	}
	maps.Copy(all, storeKinds())
	maps.Copy(all, operatorKinds())
	return all
}

// storeKinds are those that hit etcd.
func storeKinds() map[string]kind {
	return map[string]kind{
		"memberkill":   {weight: 3, on: []string{onLeader, onFollower}, lasts: aroundTTL, alone: true, costs: costsShort, do: (*harm).killMembers},
		"memberfreeze": {weight: 3, on: []string{onLeader, onFollower}, lasts: threeSeconds, alone: true, costs: costsAll, do: (*harm).freezeMembers},
		"quorumshort":  {weight: 2, on: []string{onQuorum}, lasts: wellWithinTTL, alone: true, costs: costsShort, do: (*harm).freezeMembers},
		"quorumlong":   {weight: 1, on: []string{onQuorum}, lasts: beyondTTL, alone: true, costs: costsAll, do: (*harm).freezeMembers},
		"memberskill":  {weight: 1, on: []string{onQuorum, onAll}, lasts: aroundTTL, alone: true, costs: costsAll, do: (*harm).killMembers},
		"memberroll":   {weight: 1, on: []string{onAll}, alone: true, costs: costsShort, do: (*harm).rollMembers},
		"compact":      {weight: 2, on: []string{onPlane}, do: (*harm).compact},
		"stall":        {weight: 2, on: []string{onBackup, onHot}, lasts: threeSeconds, do: (*harm).stall},
		"defrag":       {weight: 2, on: []string{onAll}, alone: true, costs: costsShort, do: (*harm).defragment},
	}
}

// operatorKinds are what operators do, well or badly.
func operatorKinds() map[string]kind {
	return map[string]kind{
		"handover": {weight: 5, on: []string{onPlane}, alone: true, costs: costsAll, do: (*harm).handover},
		"mode":     {weight: 3, on: []string{onMaster, onHot, onBackup}, lasts: upToASecond, alone: true, costs: costsMaster, do: (*harm).changeMode},
		"disable":  {weight: 2, on: []string{onMaster, onHot}, lasts: upToASecond, alone: true, costs: costsMaster, do: (*harm).disable},
		"pause":    {weight: 2, on: []string{onMaster}, lasts: beyondTTL, alone: true, costs: costsMaster, do: (*harm).pauseAndKill},
		"revoke":   {weight: 4, on: []string{onMaster, onMaster, onHot, onCold}, costs: costsMaster, do: (*harm).revoke},
		"unelect":  {weight: 2, on: []string{onMaster}, costs: costsMaster, do: (*harm).unelect},
		"unterm":   {weight: 2, on: []string{onMaster}, costs: costsMaster, alone: true, do: (*harm).unterm},
	}
}

func upToASecond(time.Duration) (least, most time.Duration) {
	return 100 * time.Millisecond, time.Second
}

func threeSeconds(time.Duration) (least, most time.Duration) { return 3 * time.Second, 3 * time.Second }

func aroundTTL(ttl time.Duration) (least, most time.Duration) {
	return 200 * time.Millisecond, ttl * 3 / 2
}

// wellWithinTTL leaves a holder the time to renew: the last renewal may be a third of the
// TTL old.
func wellWithinTTL(ttl time.Duration) (least, most time.Duration) {
	return 200 * time.Millisecond, max(ttl*2/3-2*margin, 400*time.Millisecond)
}

func toTwiceTTL(ttl time.Duration) (least, most time.Duration) { return time.Second, 2 * ttl }

func atTheEdge(ttl time.Duration) (least, most time.Duration) { return ttl - margin, ttl }

func beyondTTL(ttl time.Duration) (least, most time.Duration) { return ttl * 5 / 2, ttl * 5 / 2 }

// mayCost reports whether a step may end a term.
func (k kind) mayCost(s Step, ttl time.Duration) bool {
	switch k.costs {
	case costsAll:
		return true
	case costsShort:
		return ttl < longTTL
	case costsMaster:
		return s.On == onMaster || s.On == onPair || s.On == onAll
	default:
		return false
	}
}

// slack is how late this slow and shared machine may react. It widens bounds of time, never
// of safety.
const slack = 5 * time.Second

// limit is how long after its beginning a step that costs the plane its master must leave
// it with a new one. The TTL counts again if etcd had to elect a leader.
func (k kind) limit(s Step, ttl time.Duration) time.Duration {
	expiry := ttl + time.Second
	switch {
	case !k.mayCost(s, ttl):
		return 0
	case storeKinds()[s.What].do != nil, s.On == onAll, s.On == onPair, s.What == "pause":
		return s.For + 2*expiry + 2*time.Second + slack
	default:
		return expiry + time.Second + slack
	}
}
