// Package clock measures how long ago something was, in a way that counts the time
// for which the machine was suspended: Go's own monotonic clock does not.
package clock

import "time"

// Moment is a point in time of this process. The zero Moment is none.
type Moment struct {
	awake time.Time
	boot  time.Duration
}

// Now returns the present moment.
func Now() Moment { return Moment{awake: time.Now(), boot: Boot()} }

// IsZero reports whether m is no moment.
func (m Moment) IsZero() bool { return m.awake.IsZero() }

// Age returns how long ago m was. The two clocks run alike while the machine is
// awake, and only the one of package time runs in a test's virtual time, so the
// one that has counted more is right.
func (m Moment) Age() time.Duration { return max(time.Since(m.awake), Boot()-m.boot) }
