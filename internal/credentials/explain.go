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

// ErrTrust is returned when no connection was made that both sides trust. No request
// was answered over it, nor carried out.
var ErrTrust = errors.New("no trusted connection")

// Flags are the names of the flags to which an explanation points.
type Flags struct{ CA, Cert string }

// Explain turns the error of a connection into an [ErrTrust] that says what is wrong and
// what to do about it, in one line, if that is what it is; and returns nil if not.
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
		return trust("its certificate is for %s and not for %s: use a name that it is for, or get one that has this name", names(name.Certificate), name.Host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return trust("%s", expired(invalid.Cert))
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return trust("its certificate is not taken: %w", err)
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &header) && string(header.RecordHeader[:]) == "HTTP/":
		return trust("it speaks plain HTTP and not TLS: write http:// for https://")
	case errors.As(err, &remote) && remote.Op == "remote error" && strings.Contains(remote.Err.Error(), "certificate"):
		return trust("it does not take the certificate it was shown (%w): see %s", remote.Err, flags.Cert)
	case errors.As(err, &remote) && remote.Op == "remote error", errors.As(err, &header):
		return trust("it does not agree to TLS: %w", err)
	default:
		return nil
	}
}

func trust(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrTrust, fmt.Errorf(format, args...))
}

// issuer names who has signed a certificate.
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

// names lists whom a certificate is for.
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

// expired tells of a certificate whose time it is not.
func expired(c *x509.Certificate) string {
	if now := time.Now(); now.Before(c.NotBefore) {
		return fmt.Sprintf("its certificate is valid from %s on, and here it is %s: set the clock that is wrong",
			c.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("its certificate has expired at %s: have it renewed", c.NotAfter.UTC().Format(time.RFC3339))
}
