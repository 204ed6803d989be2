// Package driver is what a store of planes implements, and what it and a node tell each
// other: [Store], [Presence], [Term], [Source], and the picture of a [Plane]. Authors
// of programs need it for what they read of a plane, such as [Member] and
// [HistoryEntry]; package etcdstore implements it, and so does the plane in memory that
// tests use. The contract that every store keeps is a test suite.
package driver
