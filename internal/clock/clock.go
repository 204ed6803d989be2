// Package clock measures elapsed time including the time for which the machine was
// suspended, which Go's monotonic clock leaves out.
package clock

import "time"

// Moment is a point in time of this process. The zero Moment means none.
type Moment struct {
	awake time.Time
	boot  time.Duration
}

// Now returns the current moment.
func Now() Moment { return Moment{awake: time.Now(), boot: Boot()} }

// IsZero reports whether m is the zero Moment.
func (m Moment) IsZero() bool { return m.awake.IsZero() }

// Age returns how long ago m was. It uses the larger of two clocks: they agree while the
// machine is awake, and only that of package time runs in a test's virtual time.
func (m Moment) Age() time.Duration { return max(time.Since(m.awake), Boot()-m.boot) }
