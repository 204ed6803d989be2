package credentials

// SettledAfter exports settledAfter.
const SettledAfter = settledAfter
