package credentials

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

// ErrTrust is returned when a connection failed because one side does not trust the other.
// No request was answered or carried out over it.
var ErrTrust = errors.New("no trusted connection")

// Flags are the names of the flags that an explanation mentions.
type Flags struct{ CA, Cert string }

// Explain turns the error of a connection into an [ErrTrust] that says in one line what is
// wrong and what to do. It returns nil if the error is not about trust.
func Explain(err error, flags Flags) error {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var header tls.RecordHeaderError
	var remote *net.OpError
	switch {
	case errors.As(err, &unknown):
		return trust("its certificate is signed by %s, which is not trusted here: name that CA with %s", issuer(unknown.Cert), flags.CA)
	case errors.As(err, &name):
		return trust("its certificate is for %s and not for %s: use one of its names, or issue a certificate for this one", names(name.Certificate), name.Host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return trust("%s", expired(invalid.Cert))
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return trust("its certificate is rejected: %w", err)
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &header) && string(header.RecordHeader[:]) == "HTTP/":
		return trust("it speaks plain HTTP and not TLS: write http:// for https://")
	case errors.As(err, &remote) && remote.Op == "remote error" && strings.Contains(remote.Err.Error(), "certificate"):
		return trust("it rejects the client certificate (%w): see %s", remote.Err, flags.Cert)
	case errors.As(err, &remote) && remote.Op == "remote error", errors.As(err, &header):
		return trust("the TLS handshake failed: %w", err)
	default:
		return nil
	}
}

func trust(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrTrust, fmt.Errorf(format, args...))
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
		return fmt.Sprintf("its certificate is valid from %s on, and the time here is %s: correct the clock that is wrong",
			c.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("its certificate expired at %s: renew it", c.NotAfter.UTC().Format(time.RFC3339))
}
