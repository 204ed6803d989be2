package httpapi

import (
	"maps"
	"net"
	"slices"
)

// The product's own limits, so that a test in virtual time can name them.
const (
	ReachTimeout  = reachTimeout
	MasterWithin  = masterWithin
	ChangeTimeout = changeTimeout
	KeepListing   = keepListing
	LiveWithin    = liveWithin
	Waited        = waited
	BodyWithin    = bodyWithin
	TakeWithin    = takeWithin
	HeaderWithin  = headerWithin
	IdleFor       = idleFor
	AnswerWithin  = answerWithin
	WaitFor       = waitFor

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
func (s *Server) MaxWatches() int { return int(s.watches.most) }

// Parameters lists what the query of a route may hold.
func Parameters(pattern string) []string { return parameters(pattern) }

// HasFree has the server believe that its disk has so much room.
func (s *Server) HasFree(bytes int64) { s.free = func(string) (int64, error) { return bytes, nil } }

// Places is how many connections a bounded listener takes, and how many more for health.
func Places(l net.Listener) (places, reserved int) {
	c := l.(*crowded).crowd
	return c.places, c.reserved
}

// PeerOf is whom an address counts as.
var PeerOf = peerOf
