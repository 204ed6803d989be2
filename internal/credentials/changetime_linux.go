// When a file last changed, on Linux.

package credentials

import (
	"os"
	"syscall"
	"time"
)

// changeTime is when a file's content, owner or permissions last changed.
func changeTime(info os.FileInfo) time.Time {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return time.Time{}
	}
	return time.Unix(s.Ctim.Unix())
}
