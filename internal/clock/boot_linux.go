// The clock since boot, on Linux.

package clock

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Boot reads a clock that nobody can set and that runs on while the machine is suspended,
// unlike Go's monotonic clock.
func Boot() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(fmt.Sprintf("clock: read CLOCK_BOOTTIME: %v", err))
	}
	return time.Duration(t.Nano())
}
