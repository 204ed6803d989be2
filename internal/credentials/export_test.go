package credentials

// SettledAfter is for how long a file has to be unchanged to be taken for that.
const SettledAfter = settledAfter
