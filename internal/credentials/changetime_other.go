//go:build !linux

package credentials

import (
	"os"
	"time"
)

// changeTime is when a file's content, owner or permissions last changed; here it is not
// known, so it is zero.
func changeTime(os.FileInfo) time.Time { return time.Time{} }
