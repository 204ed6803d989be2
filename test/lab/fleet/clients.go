package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/coordinator-ha/coordinator/test/lab/evidence"
)

// Parameters of the clients.
const (
	names     = 48                   // mementos that all clients share
	own       = 3                    // mementos of each client
	think     = 5 * time.Millisecond // between two operations, on average
	bound     = 3 * time.Second      // for one request
	attempts  = 3                    // of an operation with an id
	tooMany   = 130                  // operations: more than a batch may have
	afterFail = 50 * time.Millisecond
	soreness  = 2 * time.Second
)

// client makes one request after the other to any node, and records the answers.
type client struct {
	fleet *Fleet
	id    string
	rand  *rand.Rand
	asked int
	turn  int                     // counts lost answers: the client's own mementos have names with it
	known map[string]int64        // at which revision it saw each memento modified
	sore  map[*Node]time.Duration // nodes that it avoids, and until when
	seen  int64                   // the highest revision that a node has reported
}

// stream is the random source of one actor, so that another actor does not change the
// others.
func stream(seed uint64, actor string) *rand.Rand {
	mixed := uint64(14695981039346656037) // FNV-1a
	for _, c := range []byte(actor) {
		mixed = (mixed ^ uint64(c)) * 1099511628211
	}
	return rand.New(rand.NewPCG(seed, mixed))
}

func (f *Fleet) newClient(id string) *client {
	return &client{fleet: f, id: id, rand: stream(f.cfg.Seed, id), known: make(map[string]int64), sore: make(map[*Node]time.Duration)}
}

// work makes requests until ctx ends. A request in progress is then answered first.
func (c *client) work(ctx context.Context) {
	for ctx.Err() == nil {
		op := c.one(context.WithoutCancel(ctx))
		c.fleet.record(op)
		pause := time.Duration(c.rand.Int64N(int64(2 * think)))
		if op.Outcome != evidence.OK {
			pause += afterFail // do not spin on a node that is down
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// one makes one request.
func (c *client) one(ctx context.Context) evidence.Op {
	c.asked++
	node := c.pick()
	op := evidence.Op{Client: c.id, Node: node.ID}
	name := fmt.Sprintf("entity/n%d", c.rand.IntN(names))
	request := c.choose(&op, name)
	request.url = node.url + request.url
	op.Sent = c.fleet.Now()
	doubt := false // an earlier attempt may have done it
	for try := 1; ; try++ {
		c.ask(ctx, &op, request)
		if doubt && op.Outcome == evidence.Refused {
			op.Outcome = evidence.Unknown
		}
		doubt = op.Outcome == evidence.Unknown
		if doubt {
			c.turn++
		}
		if !doubt || !request.repeatable() || try == attempts {
			break
		}
	}
	if op.Outcome != evidence.Unknown {
		op.Answered = c.fleet.Now()
	} else {
		c.sore[node] = c.fleet.Now() + soreness
	}
	return op
}

// pick draws the node to ask: not one that has just failed to answer.
func (c *client) pick() *Node {
	for range 2 * len(c.fleet.Nodes) {
		if n := c.fleet.Nodes[c.rand.IntN(len(c.fleet.Nodes))]; c.sore[n] <= c.fleet.Now() {
			return n
		}
	}
	return c.fleet.Nodes[0]
}

// request is the HTTP request for an operation.
type request struct {
	method, url string
	header      map[string]string
	body        []byte
}

// repeatable reports whether it may be sent again after its answer was lost.
func (r *request) repeatable() bool { return r.header["Idempotency-Key"] != "" }

// choose draws an operation.
func (c *client) choose(op *evidence.Op, name string) request {
	r := request{url: "/v1/mementos/" + name, header: map[string]string{}}
	switch dice := c.rand.IntN(100); {
	case dice < 30:
		c.read(op, name, &r)
	case dice < 38:
		op.Changes = []evidence.Change{{Name: name, Delete: true}}
		r.method = http.MethodDelete
		c.expect(&op.Changes[0], &r, dice < 34)
	case dice < 50:
		c.batch(op, &r, 2+c.rand.IntN(5))
	case dice == 50 && c.rand.IntN(8) == 0:
		c.batch(op, &r, tooMany)
	default:
		c.put(op, name, &r, dice < 70)
	}
	return r
}

// put is an operation that puts one memento, every other time with an id. The id protects
// as long as the memento carries it: so the memento is one that only this client writes,
// and that it no longer writes once an answer was lost, since the request may still be on
// its way; or the put has a condition.
func (c *client) put(op *evidence.Op, name string, r *request, expecting bool) {
	op.Changes = []evidence.Change{{Name: name, Payload: c.payload(0)}}
	change := &op.Changes[0]
	r.method, r.body = http.MethodPut, []byte(change.Payload)
	c.expect(change, r, expecting)
	if c.asked%2 == 0 {
		return
	}
	r.header["Idempotency-Key"] = fmt.Sprintf("%s-%d", c.id, c.asked)
	if change.If == nil {
		change.Name = fmt.Sprintf("own/%s-%d-%d", c.id, c.turn, c.rand.IntN(own))
		r.url = "/v1/mementos/" + change.Name
	}
}

// payload returns a unique payload.
func (c *client) payload(part int) string {
	return fmt.Sprintf("%s %d.%d %x", c.id, c.asked, part, c.rand.Uint64())
}

// expect makes a change depend on what the client has last seen of the memento.
func (c *client) expect(change *evidence.Change, r *request, wanted bool) {
	modified, seen := c.known[change.Name]
	switch {
	case !wanted || !seen:
		return
	case modified != 0:
		r.header["If-Match"] = fmt.Sprintf("%q", strconv.FormatInt(modified, 10))
	case change.Delete:
		return // a deletion cannot require that the memento is absent
	default:
		r.header["If-None-Match"] = "*"
	}
	change.If = &modified
}

func (c *client) read(op *evidence.Op, name string, r *request) {
	op.Read = &evidence.Read{Name: name}
	r.method = http.MethodGet
	switch c.rand.IntN(4) {
	case 0, 1:
		r.url += "?consistent=true"
		op.Read.Latest = true
	case 2:
		if c.seen != 0 {
			r.url += fmt.Sprint("?revision=", c.seen)
			op.Client += "-past" // no node may go back behind it
		}
	}
}

func (c *client) batch(op *evidence.Op, r *request, size int) {
	type change struct {
		Op         string `json:"op"`
		Type       string `json:"type"`
		ID         string `json:"id"`
		Data       any    `json:"data,omitempty"`
		IfRevision *int64 `json:"if_revision,omitempty"`
	}
	var body struct {
		Ops []change `json:"ops"`
	}
	for part, i := range c.rand.Perm(max(names, size))[:size] {
		id := fmt.Sprint("n", i)
		asked, sent := evidence.Change{Name: "entity/" + id}, change{Type: "entity", ID: id}
		if c.rand.IntN(5) == 0 {
			asked.Delete, sent.Op = true, "delete"
		} else {
			text := c.payload(part)
			asked.Payload, sent.Op, sent.Data = strconv.Quote(text), "put", text // JSON is stored unchanged
		}
		if modified, ok := c.known[asked.Name]; ok && c.rand.IntN(6) == 0 {
			asked.If, sent.IfRevision = &modified, &modified
		}
		op.Changes, body.Ops = append(op.Changes, asked), append(body.Ops, sent)
	}
	r.method, r.url = http.MethodPost, "/v1/mementos/batch"
	r.header["Content-Type"] = "application/json"
	r.body, _ = json.Marshal(body) // text and numbers only
}

// ask sends a request once and records the outcome.
func (c *client) ask(ctx context.Context, op *evidence.Op, r request) {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	a, err := c.fleet.call(ctx, r.method, r.url, r.header, r.body)
	if err != nil {
		op.Outcome, op.Why = evidence.Unknown, err.Error()
		if errors.Is(err, errNotSent) {
			op.Outcome = evidence.Refused
		}
		return
	}
	revision, _ := strconv.ParseInt(a.header.Get("Coordinator-Revision"), 10, 64)
	switch {
	case op.Read != nil && revision != 0 && (a.status == http.StatusOK || a.status == http.StatusNotFound):
		c.noteRead(op, a, revision)
	case op.Read == nil && a.status/100 == 2:
		c.noteWritten(op, revision)
	case a.status == http.StatusServiceUnavailable || a.status/100 == 4:
		op.Outcome = evidence.Refused
	default:
		op.Outcome = evidence.Unknown
	}
	if op.Outcome != evidence.OK {
		op.Why = fmt.Sprintf("%d %.300s", a.status, a.body)
	}
}

func (c *client) noteRead(op *evidence.Op, a *answer, revision int64) {
	op.Outcome, op.Revision = evidence.OK, revision
	if op.Read.Found = a.status == http.StatusOK; op.Read.Found {
		op.Read.Payload = string(a.body)
		op.Read.Modified, _ = strconv.ParseInt(trimQuotes(a.header.Get("ETag")), 10, 64)
	}
	c.seen, c.known[op.Read.Name] = max(c.seen, revision), op.Read.Modified
}

func (c *client) noteWritten(op *evidence.Op, revision int64) {
	op.Outcome, op.Revision, op.Why = evidence.OK, revision, ""
	c.seen = max(c.seen, revision)
	for i := range op.Changes {
		c.known[op.Changes[i].Name] = revision
		if op.Changes[i].Delete {
			c.known[op.Changes[i].Name] = 0
		}
	}
}
