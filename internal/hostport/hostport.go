// Package hostport parses addresses strictly. A mistyped address would otherwise show only
// when nobody can be reached, or when somebody else is.
package hostport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Check returns what is wrong with a server's address host:port.
func Check(text string) error {
	host, err := split(text, 1)
	if err == nil && host == "" {
		return errors.New("there is no host: write it as host:port")
	}
	return err
}

// Listen returns what is wrong with an address to listen at. Without a host it means every
// address of the machine; port 0 lets the system choose.
func Listen(text string) error {
	_, err := split(text, 0)
	return err
}

// URL parses scheme://host:port with one of the schemes. A user and a path are allowed and
// left for the caller to check, and nothing else is.
func URL(text string, schemes ...string) (*url.URL, error) {
	how := fmt.Sprintf("write it as %s://host:port", strings.Join(schemes, "://host:port or "))
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Opaque != "", !slices.Contains(schemes, u.Scheme), u.Host == "":
		return nil, errors.New(how)
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#"):
		return nil, errors.New("leave out what begins with ? or #")
	}
	if u.Port() == "" && !strings.HasSuffix(u.Host, ":") {
		return u, Host(u.Hostname())
	}
	return u, Check(u.Host)
}

// split separates host and port.
func split(text string, least int) (host string, err error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil || strings.HasPrefix(text, "[") && !strings.Contains(host, ":") {
		return "", errors.New("write it as host:port, an IPv6 address in brackets")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || int(n) < least {
		return "", fmt.Errorf("port %q: use %d to 65535", port, least)
	}
	if host == "" {
		return "", nil
	}
	return host, Host(host)
}

var (
	name = regexp.MustCompile(`^[\p{L}\p{N}_](?:[\p{L}\p{N}._-]*[\p{L}\p{N}_.])?$`)
	// number matches names that can only be meant as IPv4 addresses.
	number = regexp.MustCompile(`^(?:.*\.)?[0-9]+\.?$`)
)

// Host returns what is wrong with a host name or address.
func Host(text string) error {
	if _, err := netip.ParseAddr(text); err == nil {
		return nil
	}
	if !name.MatchString(text) || number.MatchString(text) {
		return fmt.Errorf("host %q: it is not a valid host name or address", text)
	}
	return nil
}
