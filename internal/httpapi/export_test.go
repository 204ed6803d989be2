package httpapi

import (
	"maps"
	"net"
	"slices"
)

// The product's own limits, so that a test in virtual time can name them.
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

// Document is openapi.json as it is embedded.
func Document() []byte { return openAPI }

// Patterns lists the server's routes, each as "METHOD /path".
func (s *Server) Patterns() []string { return slices.Sorted(maps.Keys(s.routes())) }

// MaxWatches is how many watches a server takes.
func (s *Server) MaxWatches() int { return int(s.watches.capacity) }

// Parameters lists what the query of a route may hold.
func Parameters(pattern string) []string { return knownParams(pattern) }

// SetFreeSpace has the server believe that its disk has so much room.
func (s *Server) SetFreeSpace(bytes int64) {
	s.freeSpace = func(string) (int64, error) { return bytes, nil }
}

// Slots is how many connections a bounded listener takes, and how many more for health.
func Slots(l net.Listener) (general, health int) {
	c := l.(*limitedListener).limiter
	return c.slots, c.healthSlots
}

// PeerPrefix is whom an address counts as.
var PeerPrefix = peerPrefix
