package replica

// The package's own limits, for tests.
const (
	FeedSteps  = feedSteps
	MaxReplays = maxReplays
)
