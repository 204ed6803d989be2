package modes

import (
	"fmt"
	"strings"
)

// This file holds what an operator asks of a node.

// Mode is what an operator asks a node to be. The text forms are part of the
// contract with operators and are stored in etcd: add values, never rename or
// reuse them. The zero Mode is not valid.
type Mode uint8

// The modes a node can be asked for.
const (
	_ Mode = iota
	// Auto leads if it wins the election and stands by otherwise.
	Auto
	// Master leads at once or not at all.
	Master
	// Standby stands by without holding state, and may be promoted.
	Standby
	// HotStandby stands by with a mirror of all state, and may be promoted.
	HotStandby
	// HotBackup keeps a mirror of all state and is never promoted.
	HotBackup
	// Disabled has the plane's state to itself: there is no high availability.
	// Asked of a running node it takes that node out of the plane.
	Disabled
)

var modeNames = [...]string{
	Auto:       "auto",
	Master:     "master",
	Standby:    "standby",
	HotStandby: "hot_standby",
	HotBackup:  "hot_backup",
	Disabled:   "disabled",
}

// Modes lists the valid modes in the order in which people are told of them.
func Modes() []Mode { return []Mode{Auto, Master, Standby, HotStandby, HotBackup, Disabled} }

// String returns the lower-case text form.
func (m Mode) String() string {
	if !m.Valid() {
		return fmt.Sprintf("mode(%d)", uint8(m))
	}
	return modeNames[m]
}

// Valid reports whether m is one of the named modes.
func (m Mode) Valid() bool { return m >= Auto && m <= Disabled }

// Promotable reports whether a node in this mode may ever be elected.
func (m Mode) Promotable() bool {
	return m.Valid() && m != HotBackup && m != Disabled
}

// Rest returns the state in which a node of this mode settles while it does not
// lead. Auto and master leave open whether that is hot or cold; hotByDefault
// decides it for them. A disabled node that does not lead has no place to be.
func (m Mode) Rest(hotByDefault bool) State {
	switch m {
	case HotBackup:
		return StateHotBackup
	case HotStandby:
		return StateHotStandby
	case Standby:
		return StateStandby
	case Disabled:
		return StateFailed
	default:
		if hotByDefault {
			return StateHotStandby
		}
		return StateStandby
	}
}

// NeedsMaster reports whether a node may start in this mode only where a master
// already lives.
func (m Mode) NeedsMaster() bool { return m == Standby || m == HotStandby }

// MarshalText implements [encoding.TextMarshaler].
func (m Mode) MarshalText() ([]byte, error) {
	if !m.Valid() {
		return nil, fmt.Errorf("%s has no text form", m)
	}
	return []byte(modeNames[m]), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler]. It reads a mode as people type
// it: in any case, and with "-" for "_". The error lists the modes; m is then as it
// was.
func (m *Mode) UnmarshalText(text []byte) error {
	name := strings.ReplaceAll(strings.ToLower(string(text)), "-", "_")
	known := make([]string, 0, len(modeNames))
	for _, mode := range Modes() {
		if modeNames[mode] == name {
			*m = mode
			return nil
		}
		known = append(known, modeNames[mode])
	}
	return fmt.Errorf("unknown mode %q: use one of %s", text, strings.Join(known, ", "))
}
