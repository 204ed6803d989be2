// The clock since boot, on Darwin.

package clock

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Boot reads a clock that nobody can set and that runs on while the machine is suspended,
// unlike Go's monotonic clock. On Darwin that is CLOCK_MONOTONIC.
func Boot() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(fmt.Sprintf("clock: read CLOCK_MONOTONIC: %v", err))
	}
	return time.Duration(t.Nano())
}
