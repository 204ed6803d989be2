package driver

import (
	"fmt"
	"regexp"
)

// This file holds the rules for the names of planes and nodes.

var (
	planePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	nodePattern  = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,64}$`)
)

// CheckPlane tells whether name can be the name of a plane.
func CheckPlane(name string) error {
	if !planePattern.MatchString(name) {
		return fmt.Errorf("plane %q: use up to 63 of a-z 0-9 . _ - and begin with a letter or digit", name)
	}
	return nil
}

// CheckNode tells whether id can be the id of a node.
func CheckNode(id string) error {
	if !nodePattern.MatchString(id) || id == "." || id == ".." {
		return fmt.Errorf("node id %q: use 1 to 64 of A-Z a-z 0-9 . _ ~ - and more than one or two dots", id)
	}
	return nil
}

// MaxPayload is the most bytes that a memento can have in any store, whatever its name.
const MaxPayload = 1520 << 10
