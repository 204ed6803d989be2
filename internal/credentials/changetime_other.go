//go:build !linux

package credentials

import (
	"os"
	"time"
)

// changeTime is when a file's content, owner or permissions were changed last, the zero
// time where that is not known.
func changeTime(os.FileInfo) time.Time { return time.Time{} }
