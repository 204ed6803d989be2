// This file exports internals for the tests.

package httpapi

import (
	"maps"
	"net"
	"slices"
)

// The limits, so that tests in virtual time can name them.
const (
	CurrentTimeout = currentTimeout
	MasterTimeout  = masterTimeout
	ChangeTimeout  = changeTimeout
	ListingTTL     = listingTTL
	LiveTimeout    = liveTimeout
	MinStale       = minStale
	BodyTimeout    = bodyTimeout
	PartTimeout    = partTimeout
	HeaderTimeout  = headerTimeout
	IdleTimeout    = idleTimeout
	AnswerTimeout  = answerTimeout
	MemoryWait     = memoryWait

	MaxHeader  = maxHeader
	MaxExports = maxExports

	MaxControlBody = maxControlBody
	MaxBatchBody   = maxBatchBody
	DefaultPage    = defaultPage
	MaxPage        = maxPage
	MaxListings    = maxListings
	MaxPageBytes   = maxPageBytes
)

// Document returns openapi.json as it is embedded.
func Document() []byte { return openAPI }

// Patterns lists the server's routes, each as "METHOD /path".
func (s *Server) Patterns() []string { return slices.Sorted(maps.Keys(s.routes())) }

// MaxWatches is how many watches a server allows.
func (s *Server) MaxWatches() int { return int(s.watches.capacity) }

// Parameters lists the query parameters of a route.
func Parameters(pattern string) []string { return knownParams(pattern) }

// SetFreeSpace makes the server believe that its disk has that much free space.
func (s *Server) SetFreeSpace(bytes int64) {
	s.freeSpace = func(string) (int64, error) { return bytes, nil }
}

// Slots returns how many connections a limited listener allows, and how many more for health
// checks.
func Slots(l net.Listener) (general, health int) {
	c := l.(*limitedListener).limiter
	return c.slots, c.healthSlots
}

// PeerPrefix returns the network that counts as one peer.
var PeerPrefix = peerPrefix
