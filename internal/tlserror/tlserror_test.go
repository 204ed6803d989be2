package tlserror_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/coordinator-ha/coordinator/internal/tlserror"
)

// Each error of a handshake that will not succeed by trying again is explained, with the
// words for the other side; no other error is.
func TestExplain(t *testing.T) {
	peer := tlserror.Peer{Name: "etcd", Whose: "etcd's", CA: "--ca", Cert: "see --cert"}
	alert := func(text string) error { return &net.OpError{Op: "remote error", Err: errors.New(text)} }
	for want, err := range map[string]error{
		"etcd's certificate is signed by somebody, which is not trusted here: name that CA with --ca":                       x509.UnknownAuthorityError{},
		"etcd's certificate is for no host at all and not for h: use one of its names, or issue a certificate for this one": x509.HostnameError{Certificate: new(x509.Certificate), Host: "h"},
		"etcd's certificate expired at 0001-01-01T00:00:00Z: renew it":                                                      x509.CertificateInvalidError{Cert: new(x509.Certificate), Reason: x509.Expired},
		"etcd speaks plain HTTP and not TLS: write http:// for https://":                                                    fmt.Errorf("get: %w", http.ErrSchemeMismatch),
		"etcd does not speak TLS here, is the address http://?: tls: not TLS":                                               tls.RecordHeaderError{Msg: "not TLS"},
		"etcd rejects the client certificate (tls: bad certificate): see --cert":                                            alert("tls: bad certificate"),
		"the TLS handshake with etcd failed: tls: no application protocol":                                                  alert("tls: no application protocol"),
	} {
		if got := tlserror.Explain(err, peer); got == nil || got.Error() != want {
			t.Errorf("%v is explained as %v, want %s", err, got, want)
		}
	}
	for _, err := range []error{nil, io.EOF, &net.OpError{Op: "dial", Err: errors.New("certificate")}} {
		if got := tlserror.Explain(err, peer); got != nil {
			t.Errorf("%v is explained as %v, want no explanation", err, got)
		}
	}
}
