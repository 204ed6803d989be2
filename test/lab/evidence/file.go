package evidence

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// item is one line of kept evidence: exactly one of these fields is set. The first item is
// the run and the last is the end, which shows that the file is complete.
type item struct {
	Run   *Run   `json:"run,omitempty"`
	Event *Event `json:"event,omitempty"`
	Op    *Op    `json:"op,omitempty"`
	Move  *Move  `json:"move,omitempty"`
	Act   *Act   `json:"act,omitempty"`
	Lease *Lease `json:"lease,omitempty"`
	Copy  *Copy  `json:"copy,omitempty"`
	Fault *Fault `json:"fault,omitempty"`
	End   bool   `json:"end,omitempty"`
}

// ErrCut is returned for evidence without its last line.
var ErrCut = errors.New("evidence is truncated")

// Encode writes a run, one item per line.
func (r *Run) Encode(w io.Writer) error {
	buffered := bufio.NewWriter(w)
	lines := json.NewEncoder(buffered)
	put := func(i item) error { return lines.Encode(i) }
	err := put(item{Run: r})
	for i := 0; i < len(r.Events) && err == nil; i++ {
		err = put(item{Event: &r.Events[i]})
	}
	for i := 0; i < len(r.Ops) && err == nil; i++ {
		err = put(item{Op: &r.Ops[i]})
	}
	for i := 0; i < len(r.Moves) && err == nil; i++ {
		err = put(item{Move: &r.Moves[i]})
	}
	for i := 0; i < len(r.Acts) && err == nil; i++ {
		err = put(item{Act: &r.Acts[i]})
	}
	for i := 0; i < len(r.Leases) && err == nil; i++ {
		err = put(item{Lease: &r.Leases[i]})
	}
	for i := 0; i < len(r.Copies) && err == nil; i++ {
		err = put(item{Copy: &r.Copies[i]})
	}
	for i := 0; i < len(r.Faults) && err == nil; i++ {
		err = put(item{Fault: &r.Faults[i]})
	}
	if err == nil {
		err = put(item{End: true})
	}
	if err == nil {
		err = buffered.Flush()
	}
	if err != nil {
		return fmt.Errorf("write evidence: %w", err)
	}
	return nil
}

// Decode reads what [Run.Encode] wrote. With an error it also returns what it has read.
func Decode(from io.Reader) (*Run, error) {
	lines := json.NewDecoder(bufio.NewReader(from))
	run, begun := new(Run), false
	for n := 1; ; n++ {
		var i item
		err := lines.Decode(&i)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return run, fmt.Errorf("item %d: %w", n, ErrCut)
		case err != nil:
			return run, fmt.Errorf("item %d of evidence: %w", n, err)
		case i.Run != nil && !begun:
			*run, begun = *i.Run, true
		case !begun:
			return run, fmt.Errorf("item %d of evidence: the first item must be the run", n)
		case i.End:
			return run, nil
		default:
			if !run.add(i) {
				return run, fmt.Errorf("item %d of evidence is of an unknown kind", n)
			}
		}
	}
}

// add adds an item to the run, if its kind is known.
func (r *Run) add(i item) bool {
	switch {
	case i.Event != nil:
		r.Events = append(r.Events, *i.Event)
	case i.Op != nil:
		r.Ops = append(r.Ops, *i.Op)
	case i.Move != nil:
		r.Moves = append(r.Moves, *i.Move)
	case i.Act != nil:
		r.Acts = append(r.Acts, *i.Act)
	case i.Lease != nil:
		r.Leases = append(r.Leases, *i.Lease)
	case i.Copy != nil:
		r.Copies = append(r.Copies, *i.Copy)
	case i.Fault != nil:
		r.Faults = append(r.Faults, *i.Fault)
	default:
		return false
	}
	return true
}

// Save writes a run to a file.
func (r *Run) Save(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("save evidence: %w", err)
	}
	return errors.Join(r.Encode(f), f.Close())
}

// Load reads a run from a file. With an error it also returns what it has read.
func Load(path string) (*Run, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("load evidence: %w", err)
	}
	defer f.Close()
	run, err := Decode(f)
	if err != nil {
		return run, fmt.Errorf("load %s: %w", path, err)
	}
	return run, nil
}
