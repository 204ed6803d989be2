// Package tlserror says in one line why a TLS connection failed, and what to do about it.
package tlserror

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Peer gives an explanation the words for one kind of connection.
type Peer struct {
	Name  string // the other side: "it", "etcd"
	Whose string // the same as a possessive: "its", "etcd's"
	CA    string // the setting that names the trusted CAs
	Cert  string // about this side's certificate, if the other side rejects it: "see --cert"
}

// Explain returns what is wrong if err is the error of a TLS handshake that will not succeed
// by trying again, and nil for any other error.
func Explain(err error, p Peer) error {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var header tls.RecordHeaderError
	var remote *net.OpError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("%s certificate is signed by %s, which is not trusted here: name that CA with %s", p.Whose, issuer(unknown.Cert), p.CA)
	case errors.As(err, &host):
		return fmt.Errorf("%s certificate is for %s and not for %s: use one of its names, or issue a certificate for this one", p.Whose, names(host.Certificate), host.Host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("%s certificate %s", p.Whose, expired(invalid.Cert))
	case errors.As(err, &invalid), errors.As(err, new(*tls.CertificateVerificationError)):
		return fmt.Errorf("%s certificate is rejected: %w", p.Whose, err)
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &header) && string(header.RecordHeader[:]) == "HTTP/":
		return fmt.Errorf("%s speaks plain HTTP and not TLS: write http:// for https://", p.Name)
	case errors.As(err, &header):
		return NoTLS(err, p)
	case !errors.As(err, &remote) || remote.Op != "remote error": // that is how Go names a TLS alert
		return nil
	case strings.Contains(remote.Err.Error(), "certificate"):
		return fmt.Errorf("%s rejects the client certificate (%w): %s", p.Name, remote.Err, p.Cert)
	default:
		return fmt.Errorf("the TLS handshake with %s failed: %w", p.Name, remote.Err)
	}
}

// NoTLS explains a connection to a server that does not speak TLS.
func NoTLS(err error, p Peer) error {
	return fmt.Errorf("%s does not speak TLS here, is the address http://?: %w", p.Name, err)
}

// issuer names the issuer of a certificate.
func issuer(c *x509.Certificate) string {
	switch {
	case c == nil:
		return "somebody"
	case c.Issuer.String() == c.Subject.String():
		return "itself"
	default:
		return fmt.Sprintf("%q", c.Issuer.String())
	}
}

// names lists the hosts that a certificate is for.
func names(c *x509.Certificate) string {
	all := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "no host at all"
	}
	return strings.Join(all, ", ")
}

// expired explains a certificate that is not valid at this time.
func expired(c *x509.Certificate) string {
	if now := time.Now(); now.Before(c.NotBefore) {
		return fmt.Sprintf("is valid from %s on, and the time here is %s: correct the clock that is wrong",
			c.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("expired at %s: renew it", c.NotAfter.UTC().Format(time.RFC3339))
}
