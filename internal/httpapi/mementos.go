// This file serves writes of mementos: put, delete and batch.

package httpapi

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/httpapi/wire"
	"github.com/coordinator-ha/coordinator/rebind"
)

// defaultContentType is the media type of a memento that has none.
const defaultContentType = "application/octet-stream"

func etag(rev rebind.Revision) string { return `"` + strconv.FormatInt(int64(rev), 10) + `"` }

func (s *Server) putMemento(w http.ResponseWriter, r *http.Request) error {
	expect, err := writeCondition(r)
	if err != nil {
		return err
	}
	op := rebind.Op{Name: nameFromPath(r), Expect: expect}
	id := r.Header.Get(wire.HeaderKey)
	if err := (&rebind.Delta{ID: id, Ops: []rebind.Op{op}}).Check(); err != nil {
		return fmt.Errorf("%s: %w", wire.HeaderKey, err)
	}
	content := rebind.Content{
		Parent:      rebind.Name(r.Header.Get(wire.HeaderParent)),
		ContentType: r.Header.Get("Content-Type"),
	}
	if schema := r.Header.Get(wire.HeaderSchema); schema != "" {
		n, ok := parseNumber(schema)
		if !ok {
			return badRequest("%s %.50q is not a number", wire.HeaderSchema, schema)
		}
		content.Schema = n
	}
	if content.Payload, err = readBody(w, r, int64(s.cfg.MaxPayload)); err != nil {
		return err
	}
	return s.forwarder.runAtMaster(w, r, content.Payload, func(w http.ResponseWriter, r *http.Request) error {
		if err := checkJSON(content.ContentType, content.Payload); err != nil {
			return err
		}
		op.Put = &content
		receipt, err := s.node.Commit(r.Context(), rebind.Delta{ID: id, Ops: []rebind.Op{op}})
		if err != nil {
			return err
		}
		s.setRevision(w.Header(), receipt.Revision)
		w.Header().Set("ETag", etag(receipt.Revision))
		status := http.StatusOK
		if receipt.Replaced[0] == 0 {
			status = http.StatusCreated
		}
		return reply(w, status, wire.Written{Revision: int64(receipt.Revision)})
	})
}

func (s *Server) deleteMemento(w http.ResponseWriter, r *http.Request) error {
	expect, err := writeCondition(r)
	if err != nil {
		return err
	}
	if expect == 0 {
		expect = rebind.Present
	}
	if _, err := readBody(w, r, 0); err != nil {
		return err
	}
	return s.forwarder.runAtMaster(w, r, nil, func(w http.ResponseWriter, r *http.Request) error {
		receipt, err := s.commit(r.Context(), rebind.Op{Name: nameFromPath(r), Expect: expect})
		var conflict *driver.ConflictError
		absent := errors.As(err, &conflict) && conflict.Actual == 0
		if absent || err == nil && expect == rebind.Absent { // it was expected to be absent, and is
			return fmt.Errorf("%s: %w", nameFromPath(r), rebind.ErrNotFound)
		}
		if err != nil {
			return err
		}
		s.setRevision(w.Header(), receipt.Revision)
		w.WriteHeader(http.StatusNoContent)
		return nil
	})
}

// commit stores one delta. It waits no longer than the client's request lasts.
func (s *Server) commit(ctx context.Context, ops ...rebind.Op) (rebind.Receipt, error) {
	return s.node.Commit(ctx, rebind.Delta{Ops: ops})
}

// setRevision sets the headers of the answer to a write.
func (s *Server) setRevision(h http.Header, rev rebind.Revision) {
	h.Set(wire.HeaderRevision, strconv.FormatInt(int64(rev), 10))
}

func (s *Server) postBatch(w http.ResponseWriter, r *http.Request) error {
	body, err := readJSON(w, r, maxBatchBody)
	if err != nil {
		return err
	}
	return s.forwarder.runAtMaster(w, r, body, func(w http.ResponseWriter, r *http.Request) error {
		var batch wire.Batch
		if err := decodeJSON(body, &batch); err != nil {
			return err
		}
		if len(batch.Ops) > driver.MaxOps {
			return bodyTooLarge("%d operations, a batch holds at most %d", len(batch.Ops), driver.MaxOps)
		}
		ops := make([]rebind.Op, len(batch.Ops))
		for i := range batch.Ops {
			var err error
			if ops[i], err = operation(&batch.Ops[i]); err != nil {
				return fmt.Errorf("operation %d: %w", i, err)
			}
		}
		receipt, err := s.commit(r.Context(), ops...)
		if err != nil {
			return err
		}
		s.setRevision(w.Header(), receipt.Revision)
		return reply(w, http.StatusOK, wire.Written{Revision: int64(receipt.Revision)})
	})
}

// operation converts an operation of a batch.
func operation(o *wire.Op) (rebind.Op, error) {
	name, err := rebind.NewName(o.Type, o.ID)
	if err != nil {
		return rebind.Op{}, err
	}
	op := rebind.Op{Name: name}
	if o.IfRevision != nil {
		if *o.IfRevision < 0 {
			return rebind.Op{}, badRequest("if_revision %d is negative", *o.IfRevision)
		}
		if op.Expect = rebind.Revision(*o.IfRevision); op.Expect == 0 {
			op.Expect = rebind.Absent
		}
	}
	hasContent := o.Data != nil || o.DataBase64 != nil || o.ContentType != "" || o.Parent != "" || o.Schema != 0
	switch {
	case o.Op == "delete" && hasContent:
		return rebind.Op{}, badRequest("a delete takes type, id and if_revision only")
	case o.Op == "delete":
		return op, nil
	case o.Op != "put":
		return rebind.Op{}, badRequest("unknown op %.50q: use put or delete", o.Op)
	}
	op.Put, err = contentOf(o)
	return op, err
}

func contentOf(o *wire.Op) (*rebind.Content, error) {
	c := &rebind.Content{Parent: rebind.Name(o.Parent), ContentType: o.ContentType, Schema: o.Schema}
	switch {
	case (o.Data == nil) == (o.DataBase64 == nil):
		return nil, badRequest("a put needs either data or data_base64")
	case o.Data != nil:
		c.Payload = o.Data
		if c.ContentType == "" {
			c.ContentType = "application/json"
		}
		return c, nil
	}
	payload, err := base64.StdEncoding.DecodeString(*o.DataBase64)
	if err != nil {
		return nil, badRequest("data_base64: %w", err)
	}
	c.Payload = payload
	return c, checkJSON(c.ContentType, payload)
}
