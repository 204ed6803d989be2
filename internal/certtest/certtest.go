// Package certtest makes CAs and certificates for tests, while they run: no key is kept
// anywhere.
package certtest

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// CA signs certificates.
type CA struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes a CA that keeps its files in a directory.
func NewCA(dir, name string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	ca := &CA{dir: dir, key: key, cert: &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}}
	der, err := ca.sign(ca.cert, &key.PublicKey)
	if err != nil {
		return nil, err
	}
	return ca, writePEM(filepath.Join(dir, name+".crt"), "CERTIFICATE", der)
}

// File is where the CA's own certificate is.
func (ca *CA) File() string { return filepath.Join(ca.dir, ca.cert.Subject.CommonName+".crt") }

// Pair says what a certificate is to be. The zero values mean the CA's directory,
// 127.0.0.1 and localhost, a day from an hour ago, and both servers and clients.
type Pair struct {
	Dir      string // for its files
	Name     string // of its files
	Subject  string // its common name; empty for Name
	Hosts    []string
	NotAfter time.Time
	Usages   []x509.ExtKeyUsage
}

// Issue writes a certificate and its key, over those of the same name if there are any.
func (ca *CA) Issue(p Pair) (cert, key string, err error) {
	if p.Dir == "" {
		p.Dir = ca.dir
	}
	if p.Hosts == nil {
		p.Hosts = []string{"127.0.0.1", "localhost"}
	}
	if p.NotAfter.IsZero() {
		p.NotAfter = time.Now().Add(23 * time.Hour)
	}
	if p.Usages == nil {
		p.Usages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	made := &x509.Certificate{
		Subject: pkix.Name{CommonName: cmp.Or(p.Subject, p.Name)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: p.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: p.Usages,
	}
	for _, host := range p.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			made.IPAddresses = append(made.IPAddresses, ip)
		} else {
			made.DNSNames = append(made.DNSNames, host)
		}
	}
	pair, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(pair)
	if err != nil {
		return "", "", err
	}
	der, err := ca.sign(made, &pair.PublicKey)
	if err != nil {
		return "", "", err
	}
	cert, key = filepath.Join(p.Dir, p.Name+".crt"), filepath.Join(p.Dir, p.Name+".key")
	if err := writePEM(key, "PRIVATE KEY", secret); err != nil {
		return "", "", err
	}
	return cert, key, writePEM(cert, "CERTIFICATE", der)
}

func (ca *CA) sign(made *x509.Certificate, public *ecdsa.PublicKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	made.SerialNumber = serial
	return x509.CreateCertificate(rand.Reader, made, ca.cert, public, ca.key)
}

// writePEM replaces a file whole: it may be read meanwhile.
func writePEM(path, kind string, der []byte) error {
	if err := os.WriteFile(path+".new", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
