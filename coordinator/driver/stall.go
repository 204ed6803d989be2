package driver

import "time"

// This file says how long a node may be in the way of others.

// stallOverTTL covers what a store takes to end a lapsed lease, and one slow call.
const stallOverTTL = 3 * time.Second

// StallLimit is how long a node may stand in the way of others without making progress,
// where leases have the given TTL: as the candidate whose turn it is, as a node that is
// elected and not yet MASTER, by a lease that is renewed while nothing else is answered,
// or by a lease without a [Presence.Heartbeat]. A node's own loop comes round each second,
// and no step of it that may wait takes as long as this.
func StallLimit(ttl time.Duration) time.Duration { return ttl + stallOverTTL }
