// Package replica is how state travels between a store and a node: a [Mirror] is a copy
// of all mementos that follows the store, and a [Persister] takes the writes of one
// term. Programs see neither: they read a [rebind.View] and commit a [rebind.Delta].
package replica
