// Package hostport reads addresses strictly. One that is mistyped would otherwise be found
// out only when nobody can be reached, or when somebody else is.
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

// Check tells what is wrong with the address of a server, host:port.
func Check(text string) error {
	host, err := split(text, 1)
	if err == nil && host == "" {
		return errors.New("there is no host: write it as host:port")
	}
	return err
}

// Listen tells what is wrong with an address to listen at. Without a host that is every
// address of the machine, and port 0 is one that the system chooses.
func Listen(text string) error {
	_, err := split(text, 0)
	return err
}

// URL reads scheme://host:port with one of the schemes. It may have a user and a path,
// which are for the caller to look at, and nothing else.
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

// split takes host and port apart.
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
	// number is a name that can only be meant as an IPv4 address.
	number = regexp.MustCompile(`^(?:.*\.)?[0-9]+\.?$`)
)

// Host tells what is wrong with the name or the address of a host.
func Host(text string) error {
	if _, err := netip.ParseAddr(text); err == nil {
		return nil
	}
	if !name.MatchString(text) || number.MatchString(text) {
		return fmt.Errorf("host %q: it is no name and no address of a host", text)
	}
	return nil
}
