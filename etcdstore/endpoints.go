package etcdstore

import (
	"errors"
	"fmt"
	"strings"

	"github.com/coordinator-ha/coordinator/internal/hostport"
)

// This file checks the configured endpoints before anything is sent to them.

// checkEndpoints returns what is wrong with the configured endpoints. etcd's client takes what
// it cannot parse for a host name, and finds no server there.
func checkEndpoints(endpoints []string) error {
	var err error
	seen := make(map[string]bool)
	for _, e := range endpoints {
		wrong := checkEndpoint(e)
		if name := strings.ToLower(e); wrong == nil && seen[name] {
			wrong = errors.New("it is given twice")
		} else {
			seen[name] = true
		}
		if wrong != nil {
			err = errors.Join(err, fmt.Errorf("endpoints: %q: %w", e, wrong))
		}
	}
	return err
}

func checkEndpoint(e string) error {
	kind, path, socket := strings.Cut(e, ":")
	switch {
	case e == "":
		return errors.New("one is empty")
	case strings.ContainsAny(e, " \t\r\n\"',"):
		return errors.New("write endpoints without spaces and quotes")
	case socket && (kind == "unix" || kind == "unixs"):
		if strings.Trim(path, "/") == "" {
			return errors.New("there is no path: write it as unix:///path")
		}
		return nil
	case !strings.Contains(e, "://"):
		return hostport.Check(e)
	}
	u, err := hostport.URL(e, "http", "https")
	switch {
	case err != nil:
		return err
	case u.User != nil:
		return errors.New("take user and password out")
	case u.Port() == "":
		return errors.New("there is no port: etcd's is 2379")
	case u.Path != "":
		return errors.New("leave out what follows the port")
	default:
		return nil
	}
}
