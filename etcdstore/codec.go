package etcdstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unique"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file reads and writes stored values.

// The value of a memento is one line of text, then the payload as given:
//
//	memento/1 node=a term=7 op=KQ… schema=2 parent=entity/x type=application/xml\n<payload>
//
// The first word is the format; a program does not read the values of a format that it does not
// know. Node, term and operation say who wrote it; schema, parent and type are left out if they
// are empty. The type comes last because only it may contain spaces. Changing any of this
// breaks stored planes: add a format, and keep reading this one.
const mementoFormat = "memento/1"

// stamp says who wrote a value.
type stamp struct {
	node string
	term int64
	op   string
}

func encodeMemento(c *rebind.Content, by stamp) string {
	var b strings.Builder
	b.Grow(len(mementoFormat) + 96 + len(by.op) + len(c.ContentType) + len(c.Parent) + len(c.Payload))
	b.WriteString(mementoFormat)
	b.WriteString(" node=")
	b.WriteString(by.node)
	b.WriteString(" term=")
	b.WriteString(strconv.FormatInt(by.term, 10))
	b.WriteString(" op=")
	b.WriteString(by.op)
	if c.Schema != 0 {
		b.WriteString(" schema=")
		b.WriteString(strconv.FormatInt(c.Schema, 10))
	}
	if c.Parent != "" {
		b.WriteString(" parent=")
		b.WriteString(string(c.Parent))
	}
	if c.ContentType != "" {
		b.WriteString(" type=")
		b.WriteString(c.ContentType)
	}
	b.WriteByte('\n')
	b.Write(c.Payload)
	return b.String()
}

// decodeMemento reads a value. The payload shares the memory of value; nothing else
// does, so that a memento keeps no header.
func decodeMemento(value []byte) (rebind.Content, stamp, error) {
	head, payload, ok := bytes.Cut(value, []byte{'\n'})
	if !ok {
		return rebind.Content{}, stamp{}, errors.New("value has no header line")
	}
	format, rest, _ := bytes.Cut(head, []byte{' '})
	if string(format) != mementoFormat {
		return rebind.Content{}, stamp{}, fmt.Errorf("value has format %.32q, this program reads %q", format, mementoFormat)
	}
	c := rebind.Content{Payload: payload}
	var by stamp
	for len(rest) > 0 {
		if typ, ok := bytes.CutPrefix(rest, []byte("type=")); ok {
			c.ContentType = shared(typ)
			break
		}
		var field []byte
		field, rest, _ = bytes.Cut(rest, []byte{' '})
		if err := decodeField(field, &c, &by); err != nil {
			return rebind.Content{}, stamp{}, err
		}
	}
	if by.op == "" {
		return rebind.Content{}, stamp{}, errors.New("value does not say which operation wrote it")
	}
	return c, by, nil
}

// shared returns a text as a string that is in memory once, however many mementos have it.
func shared(text []byte) string { return unique.Make(string(text)).Value() }

func decodeField(field []byte, c *rebind.Content, by *stamp) error {
	key, value, _ := bytes.Cut(field, []byte{'='})
	var err error
	switch string(key) {
	case "node":
		by.node = shared(value)
	case "term":
		by.term, err = strconv.ParseInt(string(value), 10, 64)
	case "op":
		by.op = string(value)
	case "schema":
		c.Schema, err = strconv.ParseInt(string(value), 10, 64)
	case "parent":
		c.Parent = rebind.Name(value)
		err = c.Parent.Check()
	default:
		err = fmt.Errorf("unknown field %.32q", key)
	}
	if err != nil {
		return fmt.Errorf("header of value: %w", err)
	}
	return nil
}

// change turns what is stored under a memento's key into a change. What cannot be read becomes a
// fault and not an error, because it must not stop the others.
func (k keys) change(kv *mvccpb.KeyValue) rebind.Change {
	name := k.mementoName(kv.Key)
	c := rebind.Change{Name: name, Revision: rebind.Revision(kv.ModRevision)}
	if err := name.Check(); err != nil {
		c.Fault = fmt.Sprintf("key is not a memento's: %v", err)
		return c
	}
	content, by, err := decodeMemento(kv.Value)
	if err != nil {
		c.Fault = err.Error()
		return c
	}
	c.Memento = &rebind.Memento{
		Name: name, Content: content,
		Created: rebind.Revision(kv.CreateRevision), Modified: rebind.Revision(kv.ModRevision),
		Version: kv.Version, By: driver.MarkOf(by.op),
	}
	return c
}

// metaValue is the value of the meta key.
type metaValue struct {
	PlaneID string    `json:"plane_id"`
	Format  int       `json:"format"`
	Created time.Time `json:"created"`
}

// encodeJSON encodes the values that are JSON. All are of types that can always be encoded.
func encodeJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("etcdstore: encode %T: %v", v, err))
	}
	return string(text)
}

// decodeJSON decodes one of them, whole or not at all.
func decodeJSON[T any](value []byte) (T, error) {
	var v, none T
	if err := json.Unmarshal(value, &v); err != nil {
		return none, fmt.Errorf("cannot be read: %w", err)
	}
	return v, nil
}
