// Package replica carries state between a store and a node. A [Mirror] is a copy of all
// mementos that follows the store; a [Persister] takes the writes of one term. Programs see
// neither: they read a [rebind.View] and commit a [rebind.Delta].
package replica
