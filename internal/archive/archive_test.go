package archive_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/coordinator-ha/coordinator/internal/archive"
	"github.com/coordinator-ha/coordinator/rebind"
)

type item struct {
	Name rebind.Name
	rebind.Content
}

var header = archive.Header{Plane: "p", PlaneID: "ID", Revision: 42}

func items() []item {
	return []item{
		{"entity/empty", rebind.Content{Payload: []byte{}}},
		{"entity/lines", rebind.Content{ContentType: "text/plain; charset=utf-8", Payload: []byte("a\nend {}\n\n")}},
		{"entity/zero", rebind.Content{Parent: "entity/lines", Schema: 3, Payload: []byte{0, 255, '\n'}}},
		{"policy/x", rebind.Content{ContentType: "application/xml", Payload: bytes.Repeat([]byte("<x/>"), 100_000)}},
	}
}

func write(t *testing.T, all []item) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := archive.NewWriter(&b, header)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if err := w.Add(m.Name, &m.Content); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(text []byte) (h archive.Header, all []item, err error) {
	r, err := archive.NewReader(bytes.NewReader(text), 1<<20)
	if err != nil {
		return h, nil, err
	}
	for {
		name, c, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r.Header(), all, nil
		}
		if err != nil {
			return r.Header(), all, err
		}
		all = append(all, item{name, *c})
	}
}

func TestArchive_RoundTrip(t *testing.T) {
	for _, all := range [][]item{items(), nil} {
		h, got, err := read(write(t, all))
		if err != nil || h != header {
			t.Fatalf("header %+v, %v", h, err)
		}
		if diff := gocmp.Diff(all, got); diff != "" {
			t.Errorf("mementos (-written +read):\n%s", diff)
		}
	}
}

// Promise: an archive of the first version stays readable and is written unchanged. Do not
// change the file: a new format gets a file of its own.
func TestArchive_OfTheFirstVersion(t *testing.T) {
	kept, err := os.ReadFile("testdata/format1.archive")
	if err != nil {
		t.Fatal(err)
	}
	few := items()[:3]
	h, got, err := read(kept)
	if diff := gocmp.Diff(few, got); err != nil || h != header || diff != "" {
		t.Errorf("header %+v, %v, mementos (-kept +read):\n%s", h, err, diff)
	}
	if again := write(t, few); !bytes.Equal(again, kept) {
		t.Errorf("written as %q, kept as %q", again, kept)
	}
}

// Promise: a truncated archive is refused wherever it was cut.
func TestArchive_TruncatedAnywhereIsBroken(t *testing.T) {
	whole := write(t, items()[:3])
	for n := range len(whole) - 1 {
		if _, _, err := read(whole[:n]); !errors.Is(err, archive.ErrBroken) {
			t.Fatalf("the first %d of %d bytes: %v, want ErrBroken", n, len(whole), err)
		}
	}
}

// Promise: an archive is refused if any of its bytes was changed.
func TestArchive_ChangedAnywhereIsBroken(t *testing.T) {
	whole := write(t, items()[:3])
	for i := range whole {
		changed := bytes.Clone(whole)
		changed[i] ^= 1
		if _, _, err := read(changed); !errors.Is(err, archive.ErrBroken) {
			t.Fatalf("byte %d changed from %q: %v, want ErrBroken", i, whole[i], err)
		}
	}
}

func TestArchive_WhatIsNone(t *testing.T) {
	good := string(write(t, items()[:1]))
	for name, text := range map[string]string{
		"nothing":               "",
		"something else":        "PK\x03\x04 and more",
		"a newer format":        strings.Replace(good, "archive/1", "archive/2", 1),
		"something behind":      good + "x",
		"two":                   good + good,
		"braces behind":         strings.Replace(good, "\nend {", "}\nend {", 1),
		"braces behind its end": strings.TrimSuffix(good, "\n") + "}x\n",
		"an endless line":       "coordinator-archive/1 " + strings.Repeat("x", 1<<20),
		"an invalid name":       strings.Replace(good, "entity/empty", "entity/..", 1),
		"a negative size":       strings.Replace(good, `"size":0`, `"size":-1`, 1),
		"a size over any":       strings.Replace(good, `"size":0`, `"size":99999999999`, 1),
		"an unknown field":      strings.Replace(good, `"size":0`, `"size":0,"x":1`, 1),
		"the same name twice":   string(write(t, []item{items()[0], items()[0]})),
		"names out of order":    string(write(t, []item{items()[1], items()[0]})),
		"a payload over limit":  string(write(t, []item{{"entity/x", rebind.Content{Payload: make([]byte, 1<<20+1)}}})),
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := read([]byte(text)); !errors.Is(err, archive.ErrBroken) {
				t.Errorf("%v, want ErrBroken", err)
			}
		})
	}
}

// A decoder of user input must not panic, and must not use more memory than it is allowed
// to.
func FuzzReader(f *testing.F) {
	var b bytes.Buffer
	w, _ := archive.NewWriter(&b, header)
	_ = w.Add("entity/x", &rebind.Content{Payload: []byte("x")})
	_, _ = w.Close()
	f.Add(b.Bytes())
	f.Add([]byte("coordinator-archive/1 {}\nend {}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, all, err := read(text)
		if err != nil {
			return
		}
		var again bytes.Buffer
		w, err := archive.NewWriter(&again, h)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all {
			if err := w.Add(m.Name, &m.Content); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if _, back, err := read(again.Bytes()); err != nil || gocmp.Diff(all, back) != "" {
			t.Fatal(fmt.Errorf("what was read cannot be written: %w", err))
		}
	})
}
