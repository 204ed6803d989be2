package rebind

// FeedSteps is how many steps a mirror keeps for its followers.
const FeedSteps = feedSteps
