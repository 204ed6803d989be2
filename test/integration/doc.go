// Package integration holds the promises of the README as tests, one file a
// promise. They run the built binary as processes, against an etcd that is a
// process too, and judge a run by the store's own event history from its first
// revision: what the nodes say of themselves proves nothing.
package integration
